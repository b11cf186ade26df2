"""The worth of a model in numbers: likelihoods, rate-distortion curves, anomaly scores, distances from real images.

The functions here see a denoiser and arrays in model space; a `Model` and its data meet in
`likelihood.evaluate` and `anomaly.evaluate`.
"""
