"""The mathematics of diffusion: processes, denoisers, samplers, guidance, losses. Start with `gaussian`."""
