"""Augmentations of pictures, on the tensors' device, from numbers drawn beforehand.

Each is a pair: a function that turns uniform numbers into parameters, on the host, and one that
applies the parameters to images. What is drawn does not depend on the images' size, so the same
numbers serve images of any size.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrplan.arguments import finite_number
from lrplan.errors import UsageError

CROP_TRIES = 10
CROP_RATIO = (3 / 4, 4 / 3)
LUMA = (0.299, 0.587, 0.114)
BLUR_SD = (0.1, 2.0)
BLUR_KERNEL = 0.1

SHIFT_UNIFORMS, SHIFT_NUMBERS = 3, 3
RESIZE_UNIFORMS, RESIZE_NUMBERS = 2 * CROP_TRIES + 3, 5
COLOUR_UNIFORMS, COLOUR_NUMBERS = 7, 6
BLUR_UNIFORMS, BLUR_NUMBERS = 2, 1


def shift_parameters(u: np.ndarray, *, padding: float, flips: bool) -> np.ndarray:
    """Turn uniform numbers (..., 3) into shifts and a flip (..., 3).

    Parameters
    ----------
    u : array (..., 3)
        Uniform in [0, 1).
    padding : float
        Largest shift, as a share of the image's edge.
    flips : bool
        Whether half of the images are mirrored.
    """
    flip = (u[..., 2:] < 0.5) & flips
    return np.concatenate([padding * (2 * u[..., :2] - 1), flip], axis=-1)


def shift(images: Tensor, drawn: Tensor) -> Tensor:
    """Crop (example, channel, row, column) images after padding them with zeros, and flip some.

    Parameters
    ----------
    images : Tensor
        Of any type, which is kept.
    drawn : Tensor (example, 3)
        From `shift_parameters`; shifts are rounded to whole pixels.
    """
    n, _, rows, columns = images.shape
    y = torch.arange(rows, device=images.device) + (drawn[:, :1] * rows).round().long()
    x = torch.arange(columns, device=images.device) + (drawn[:, 1:2] * columns).round().long()
    x = torch.where(drawn[:, 2:] > 0.5, x.flip(1), x)
    inside = ((y >= 0) & (y < rows))[:, :, None] & ((x >= 0) & (x < columns))[:, None, :]
    y, x = y.clamp(0, rows - 1), x.clamp(0, columns - 1)
    each = torch.arange(n, device=images.device)
    moved = images.permute(0, 2, 3, 1)[each[:, None, None], y[:, :, None], x[:, None, :]]
    return (moved * inside[..., None]).permute(0, 3, 1, 2)


def resize_parameters(u: np.ndarray, *, least: float, flips: bool) -> np.ndarray:
    """Turn uniform numbers (..., 23) into a crop's centre, half sizes and a sign (..., 5).

    The crop has a share of the area that is uniform in [least, 1] and an aspect ratio that is
    log-uniform in [3/4, 4/3]; of ten such crops the first that fits is taken, and the whole
    image if none does. Coordinates run from -1 to 1 over the image. The sign is -1 where the
    crop is mirrored.

    Notes
    -----
    Szegedy et al., CVPR 2015, section 6.
    """
    tries, rest = u[..., : 2 * CROP_TRIES], u[..., 2 * CROP_TRIES :]
    area = least + (1 - least) * tries[..., :CROP_TRIES]
    low, high = np.log(CROP_RATIO)
    ratio = np.exp(low + (high - low) * tries[..., CROP_TRIES:])
    width, height = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fits = (width <= 1) & (height <= 1)
    first = fits.argmax(-1)[..., None]
    none = ~fits.any(-1, keepdims=True)
    width = np.where(none, 1.0, np.take_along_axis(width, first, -1))
    height = np.where(none, 1.0, np.take_along_axis(height, first, -1))
    half = np.concatenate([width, height], axis=-1)
    centre = (2 * rest[..., :2] - 1) * (1 - half)
    sign = np.where((rest[..., 2:] < 0.5) & flips, -1.0, 1.0)
    return np.concatenate([centre, half, sign], axis=-1)


def resized_crop(images: Tensor, drawn: Tensor) -> Tensor:
    """Cut a piece out of float (example, channel, row, column) images and enlarge it to the whole.

    Parameters
    ----------
    images : Tensor
        Floating point.
    drawn : Tensor (example, 5)
        From `resize_parameters`.
    """
    x, y, half_width, half_height, sign = drawn.to(images.dtype).unbind(1)
    zero = torch.zeros_like(x)
    rows = [half_width * sign, zero, x, zero, half_height, y]
    grid = F.affine_grid(
        torch.stack(rows, 1).reshape(-1, 2, 3), list(images.shape), align_corners=False
    )
    # A crop is never larger than the image, so nothing is shrunk and nothing aliases.
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def colour_parameters(
    u: np.ndarray, *, strength: float, hue: float, grey: float, negative: float
) -> np.ndarray:
    """Turn uniform numbers (..., 7) into factors and flags (..., 6).

    Factors of brightness, contrast and saturation (uniform in 1 +- 0.8 `strength`, not below
    0) and the shift of hue (uniform in +- `hue` of a turn) apply to four images in five; a share
    `grey` of all images lose their colour, a share `negative` become their negatives.

    Notes
    -----
    Chen et al., ICML 2020, appendix A; brightness is multiplied, as torchvision does. There
    `hue` is 0.2 `strength`, and no image becomes a negative.
    """
    applies = u[..., 4:5] < 0.8
    factors = np.maximum(0.0, 1 + 0.8 * strength * (2 * u[..., :3] - 1))
    turn = hue * (2 * u[..., 3:4] - 1)
    return np.concatenate(
        [
            np.where(applies, factors, 1.0),
            np.where(applies, turn, 0.0),
            u[..., 5:6] < grey,
            u[..., 6:7] < negative,
        ],
        axis=-1,
    )


def recolour(images: Tensor, drawn: Tensor) -> Tensor:
    """Make negatives, then change brightness, contrast, saturation and hue of images in [0, 1].

    Parameters
    ----------
    images : Tensor (example, channel, row, column)
        Of three channels, or of one, which has neither saturation nor hue.
    drawn : Tensor (example, 6)
        From `colour_parameters`.
    """
    brightness, contrast, saturation, turn, grey, negative = drawn[..., None, None, None].unbind(1)
    images = torch.where(negative > 0.5, 1 - images, images)
    images = (images * brightness).clamp(0, 1)
    mean = _luma(images).mean((2, 3), keepdim=True)
    images = (mean + contrast * (images - mean)).clamp(0, 1)
    if images.shape[1] != 3:
        return images
    luma = _luma(images)
    images = (luma + saturation * (images - luma)).clamp(0, 1)
    images = _turn_hue(images, turn[:, 0])
    return torch.where(grey > 0.5, _luma(images), images)


def _luma(images: Tensor) -> Tensor:
    """Return what is left of images without colour (ITU-R BT.601), as one channel."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Shift the hue of RGB images by `turn` of a full turn; value and saturation stay."""
    red, green, blue = images.unbind(1)
    value, low = images.amax(1), images.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turn
    channels = []
    for offset in (5, 3, 1):
        k = torch.remainder(hue + offset, 6)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def blur_parameters(u: np.ndarray, *, share: float) -> np.ndarray:
    """Turn uniform numbers (..., 2) into standard deviations in pixels (..., 1), 0 for no blur.

    Notes
    -----
    Chen et al., ICML 2020, appendix A: half of the images, 0.1 to 2 pixels of 224.
    """
    sd = BLUR_SD[0] + (BLUR_SD[1] - BLUR_SD[0]) * u[..., :1]
    return np.where(u[..., 1:] < share, sd, 0.0)


def blur(images: Tensor, drawn: Tensor) -> Tensor:
    """Convolve each float image with its own Gaussian, as wide as a tenth of the image.

    Parameters
    ----------
    images : Tensor (example, channel, row, column)
        Floating point.
    drawn : Tensor (example, 1)
        Standard deviations in pixels.
    """
    n, channels, rows, columns = images.shape
    reach = max(1, round(BLUR_KERNEL * min(rows, columns) / 2))
    place = torch.arange(-reach, reach + 1, device=images.device)
    # A deviation of nothing leaves the middle alone, and the image as it is.
    kernel = torch.exp(-0.5 * (place / drawn.clamp_min(1e-3)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.dtype)
    kernel = kernel.repeat_interleave(channels, 0)
    x = F.pad(images, (reach,) * 4, mode="reflect").reshape(
        1, n * channels, rows + 2 * reach, columns + 2 * reach
    )
    x = F.conv2d(x, kernel[:, None, :, None], groups=n * channels)
    x = F.conv2d(x, kernel[:, None, None, :], groups=n * channels)
    return x.reshape(images.shape)


def share_setting(value: float, name: str) -> float:
    """Return a setting that is a share.

    Raises
    ------
    UsageError
        If it is not between 0 and 1.
    """
    if finite_number(value, name) > 1:
        raise UsageError(f"{name} is {value!r}; expected a share between 0 and 1")
    return value
