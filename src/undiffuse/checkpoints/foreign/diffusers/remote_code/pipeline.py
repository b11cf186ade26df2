"""Images out of noise by a model that undiffuse trained, for diffusers; see unet/modeling.py beside it.

    import diffusers
    pipeline = diffusers.DiffusionPipeline.from_pretrained("FOLDER", trust_remote_code=True)
    images = pipeline(class_labels=[7, 7, 3], guidance_scale=2.0, num_inference_steps=50).images

Other schedulers work as they do everywhere: ``DDIMScheduler.from_config(pipeline.scheduler.config)``.
"""

import inspect
from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin, SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class UndiffusePipeline(DiffusionPipeline):
    """Unconditional images, or images of classes."""

    model_cpu_offload_seq = "unet"

    def __init__(self, unet: ModelMixin, scheduler: SchedulerMixin) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        class_labels: Sequence[int] | None = None,
        guidance_scale: float = 1.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int = 50,
        latents: Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[object]:
        """Draw.

        Args:
            batch_size: how many, where neither classes nor noise say so.
            class_labels: number of each image's class; none is told where this is left out.
            guidance_scale: above 1 leads away from what the model draws without a class.
            latents: the noise to start from, (batch, channels, height, width).
            output_type: 'pil', 'np' or 'pt', the last two in [0, 1].
        """
        config, device = self.unet.config, self._execution_device
        if class_labels is not None and config.num_class_embeds is None:
            raise ValueError("This model knows no classes: leave out class_labels")
        count = len(class_labels) if class_labels is not None else batch_size if latents is None else len(latents)
        shape = (count, config.in_channels, *config.sample_size)
        x = randn_tensor(shape, generator=generator, device=device) if latents is None else latents.to(device)
        labels = None if class_labels is None else torch.as_tensor(class_labels, device=device)
        self.scheduler.set_timesteps(num_inference_steps)
        x = x * self.scheduler.init_noise_sigma
        # After x0 is clipped DDIM's noise is that which goes with it: without this, eta = 1 is not DDPM.
        takes = inspect.signature(self.scheduler.step).parameters
        options = {"generator": generator, "use_clipped_model_output": True}
        how = {name: value for name, value in options.items() if name in takes}
        for t in self.progress_bar(self.scheduler.timesteps):
            seen = self.scheduler.scale_model_input(x, t)
            output = self.unet(seen, t, labels).sample
            if guidance_scale != 1 and labels is not None:
                without = self.unet(seen, t).sample
                output = without + guidance_scale * (output - without)
            x = self.scheduler.step(output, t, x, **how).prev_sample
        images = (x / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).float().numpy()
            if output_type == "pil":
                images = self.numpy_to_pil(images)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
