"""A sweep: every combination of two settings is a run, and a page sets them side by side.

python examples/sweep.py
"""

import undiffuse


def main(steps: int = 500, runs: str = "runs") -> None:
    found = undiffuse.sweep(
        "digits",
        {"lr": [3e-4, 1e-3], "parameterization": ["epsilon", "v"]},
        name="rates",
        runs=runs,
        base=16,
        multipliers=(1, 2),
        blocks=1,
        steps=steps,
        validation=0.1,
    )
    for folder, varied in found.runs.items():
        print(folder, varied)
    print(found.page)


if __name__ == "__main__":
    main()
