// What the edits are called on the page, and what each does, in the order in which they are offered.

const EDITS = {
  inpaint: ["Paint anew", "Mark a part; the model paints it anew so that it fits the rest."],
  outpaint: ["Extend", "Adds pixels at the sides and paints them so that what is there goes on."],
  upscale: ["Enlarge", "A larger picture that, made small again, is the one you gave."],
  vary: ["Vary", "Adds noise and takes it away again: a little gives a cousin, much gives a stranger."],
  interpolate: ["Morph", "From one picture to another, through pictures that the model believes in."],
  colorize: ["Colour", "Paints the colours of a grey picture."],
  deblur: ["Sharpen", "A sharp picture that, blurred, is the one you gave."],
  denoise: ["Clean", "Takes the noise off a picture; how much there is, it finds out by itself unless you say it."],
  invert: ["Invert", "Finds the noise that a picture comes from, and draws it from there again."],
  translate: ["Turn into", "Finds the noise that a picture comes from and draws another class from it: the manner stays, what it shows changes."],
};

/** The names of edits that a page can show, of those that a server has. */
export const offered = (names) => Object.keys(EDITS).filter((name) => names.includes(name));

export const verb = (name) => EDITS[name]?.[0] ?? name;
export const gist = (name) => EDITS[name]?.[1] ?? "";
