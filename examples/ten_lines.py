import sys

import torch

from avatar3d import Avatar
from avatar3d.animation import expression_code, portrait_camera
from recon import create
from render import rasterize

create(sys.argv[1:]).avatar.save("me.avatar")  # photos, a folder of them, or one video
me = Avatar.load("me.avatar")
gaussians = me.gaussians(expression_code("smile"))  # 52 ARKit coefficients and a pose
picture = rasterize(gaussians, portrait_camera(me, 512), background=torch.ones(3)).colors
