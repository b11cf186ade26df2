"""Signals are noted, a second Ctrl-C is obeyed at once, and the handlers of before come back."""

import os
import signal
import threading

import pytest

from undiffuse.training.run.signals import Interrupts


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_process_goes_on(signum):
    interrupts = Interrupts()
    with interrupts.listening():
        os.kill(os.getpid(), signum)
        assert interrupts.requested == signum


def test_a_second_ctrl_c_aborts_but_a_second_sigterm_does_not():
    interrupts = Interrupts()
    with interrupts.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(RuntimeError), Interrupts().listening():
        raise RuntimeError
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_attempt_is_broken_off_by_the_first_signal():
    interrupts, done = Interrupts(), []

    def work():
        done.append("began")
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("ended")

    with interrupts.listening():
        assert interrupts.attempt(lambda: None)
        assert not interrupts.attempt(work)
        assert not interrupts.attempt(work)
    assert done == ["began"]
    assert interrupts.requested == signal.SIGTERM


def test_in_another_thread_signals_are_left_to_the_main_one():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def run():
        with Interrupts().listening():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]
