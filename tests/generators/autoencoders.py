"""Writes small AutoencoderKL folders, as diffusers' `save_pretrained` does."""

import json

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
#: Latents 2 x 4 x 4, pictures 3 x 8 x 8.
LATENT, SIDE = (2, 4, 4), 8


def autoencoder(**changes):
    """Return a small AutoencoderKL with seeded weights whose pictures use the whole range."""
    from diffusers import AutoencoderKL

    values = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": LATENT[0],
        "sample_size": SIDE,
        "scaling_factor": 0.5,
    }
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = AutoencoderKL(**(values | changes)).eval()
    with torch.no_grad():
        model.decoder.conv_out.weight.mul_(1.5)
    return model.requires_grad_(False)


def write_folder(folder, model=None):
    """Write a model; returns (folder, model)."""
    model = model or autoencoder()
    model.save_pretrained(folder)
    return folder, model


def shard(folder):
    """Cut the weights of a folder in two and write their index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {
        "diffusion_pytorch_model-00001-of-00002.safetensors": names[::2],
        "diffusion_pytorch_model-00002-of-00002.safetensors": names[1::2],
    }
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / WEIGHTS).unlink()
    return folder


def edit_json(path, **changes):
    """Change keys of a JSON file; None removes one."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
