"""What ``undiffuse edit ... --help`` says before the options, and what a word without a place was meant to be."""

from __future__ import annotations

PAGES = {
    "inpaint": """\
Paint anew what a mask marks in white; all else stays exactly as it is.

  undiffuse edit inpaint runs/NAME photo.png --mask mask.png -n 4
  undiffuse edit inpaint runs/NAME photos/ --mask masks/ --method dps

A mask has its picture's size. One mask serves all pictures of a folder; a folder of masks has one for each, by name.
""",
    "outpaint": """\
Paint more around a picture, as far as you like: a panorama is a margin of many times its size.

  undiffuse edit outpaint runs/NAME photo.png
  undiffuse edit outpaint runs/NAME photo.png --right 64 --bottom 16

Where no side is named, a quarter of the shorter one is added everywhere. What grows beyond the size that the model
learned is denoised in overlapping tiles of that size (--overlap).
""",
    "upscale": """\
Make pictures larger: by a model that learned to, or by one of pictures that large, which never did.

  undiffuse edit upscale runs/STAGE small.png             a run of undiffuse train --upscale: its own factor
  undiffuse edit upscale runs/NAME small.png --factor 4 -n 4

Any other model is led to pictures whose means over blocks are the small picture's values (--method); beyond the size
that it learned it works in tiles. A stage is told the small picture; --augmentation makes it believe less of it.
""",
    "colorize": """\
Give grey pictures colour, by a model of colour pictures: their luma stays what it is.

  undiffuse edit colorize runs/NAME grey.png -n 4
  undiffuse edit colorize runs/NAME photo.jpg --channels grey      # of a colour picture take the grey
""",
    "deblur": """\
Sharpen pictures that were blurred by a Gaussian of known width.

  undiffuse edit deblur runs/NAME blurred.png --std 1.5
""",
    "denoise": """\
Take the noise off a photograph: find how noisy it is, which t of the model's process that is, and walk home.

  undiffuse edit denoise runs/NAME noisy.png
  undiffuse edit denoise runs/NAME noisy.png --noise 25 --steps 1

Noise is said as a standard deviation in parts of 255. One step gives the mean of what the picture may have been, the
least error; more steps of a stochastic sampler give one of these pictures, with detail.
""",
    "vary": """\
Variations of a picture: into noise for a part of the way, and home again (SDEdit).

  undiffuse edit vary runs/NAME photo.png --strength 0.4 -n 8

Strength 0 gives the picture back, 1 a new one that has nothing of it.
""",
    "interpolate": """\
From one picture to another, through pictures.

  undiffuse edit interpolate runs/NAME a.png b.png --frames 9
  undiffuse edit interpolate runs/NAME a.png b.png --way shared --strength 0.6

slerp goes by the arc between the latents of both (its ends are their reconstructions), shared by the straight line
between both in the same noise (Ho et al. 2020).
""",
    "invert": """\
The noise that pictures come from under DDIM, and how well it gives them back.

  undiffuse edit invert runs/NAME photo.png --steps 200
  undiffuse edit invert runs/NAME photo.png --steps 50 --exact

Writes the reconstruction, and the latent as NAME-latent.npz (key 'latent', float32, channels x height x width).
""",
    "translate": """\
Pictures of one class as pictures of another: the noise that they come from, seen as the other class.

  undiffuse edit translate digits seven.png --from seven --to three
  undiffuse edit translate runs/NAME photos/ --from cats --to dogs --guidance 1 --strength 0.9

Without --from no class is told on the way into noise. Less strength and less --guidance, which is 2 unless typed, keep
more of the picture.
""",
}

SURPLUS = {"inpaint": "the mask is named by --mask {}", "upscale": "how much larger is said by --factor"}
"""See `Parser.surplus`."""
