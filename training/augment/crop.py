"""Crop, flip and resize of a whole batch on the device, as two matrices a view.

Legend: B images of H × W pixels, N = 2B views of S × S, C = 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CACHED_IMAGES = 64  # of so many small ones what a crop needs stays in the caches of a core


def crop_batch(images_BHCW: Tensor, boxes_N4: Tensor, flips_N: Tensor, size: int) -> Tensor:
    """`views.crop` of first views, then second ones, without its rounding to bytes: float32 [N, 3, S, S] in [0, 1].

    images: contiguous uint8 [B, H, 3, W], in this order so that both products run over contiguous rows.
    """
    b, height, _, width = images_BHCW.shape
    at_once = _CACHED_IMAGES if images_BHCW.device.type == "cpu" else b
    views = torch.empty(2 * b, size * 3, size, device=images_BHCW.device)
    # Blocks of images, and the first and the second view of each.
    images = torch.split(images_BHCW, at_once)
    places = (torch.split(each.view(2, b, *each.shape[1:]), at_once, 1) for each in (boxes_N4, flips_N, views))
    for block, boxes, flips, outs in zip(images, *places, strict=True):
        x = (block.float() / 255).view(len(block), height, 3 * width)
        for box, flip, out in zip(boxes, flips, outs, strict=True):
            left, top, right, bottom = box.unbind(1)
            rows = _weights(top, bottom, height, size)
            columns = _weights(torch.where(flip, right, left), torch.where(flip, left, right), width, size)
            squeezed = rows.bmm(x).view(len(block), size * 3, width)
            torch.bmm(squeezed, columns.transpose(1, 2), out=out)
    return views.view(2 * b, size, 3, size).transpose(1, 2)


def _weights(start_N: Tensor, end_N: Tensor, length: int, size: int) -> Tensor:
    """How much each of `length` pixels enters each of `size` new ones between start and end: [N, S, length].

    A triangle as wide as one new pixel, at least one old one, as Pillow's and torchvision's antialiased bilinear
    filter; like Pillow's it sees beyond the box, but not beyond the image. start > end flips.
    """
    scale = (end_N - start_N) / size
    new = torch.arange(size, device=start_N.device) + 0.5
    old = torch.arange(length, device=start_N.device) + 0.5
    width = scale.abs().clamp_min(1).view(-1, 1, 1)
    centre = start_N.view(-1, 1) + new * scale.view(-1, 1)
    near = (old - centre.unsqueeze(2)).abs_().div_(width).neg_().add_(1).clamp_min_(0)
    return near.div_(near.sum(2, keepdim=True))
