"""diffusers' folders of a U-Net and a scheduler, both ways (https://github.com/huggingface/diffusers)."""
