"""Code for folders of models that none of diffusers' own classes can hold; never imported here."""
