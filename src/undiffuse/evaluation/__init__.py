"""What a model is worth in numbers: likelihoods, rate-distortion curves, anomaly scores and how well they separate.

The functions here see a denoiser and arrays in model space; a `Model` and its data meet in
`likelihood.evaluate` and `anomaly.evaluate`.
"""
