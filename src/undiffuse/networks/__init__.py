"""Networks: functions of (x, time, conditions). They know nothing of diffusion.

network = networks.UNet(channels=1, out_channels=1, dims=2, config=networks.UNetConfig(base=32))
output = network(x, time)    # x (batch, channels, *spatial), time (batch,)
"""

from undiffuse.config.network import UNetConfig
from undiffuse.networks.conditions import Condition
from undiffuse.networks.rms_unet import RMSUNet
from undiffuse.networks.score_unet import ScoreUNet
from undiffuse.networks.unet import UNet

__all__ = ["Condition", "RMSUNet", "ScoreUNet", "UNet", "UNetConfig"]
