"""Networks: functions of (x, time, conditions). They know nothing of diffusion."""
