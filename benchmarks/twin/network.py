"""The default LAE once more, in PyTorch: the same layers, widths, losses and routes; runs where PyTorch is installed.

Layers stand in dictionaries under the names that they have in Keras, from which :func:`load_weights` takes their
weights. Where PyTorch has a faster way of its own to the same numbers (its FFT, the closed form of Grad-CAM), that is
taken: the twin is to be as fast as someone would write it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE, STRIDE, NEGLIGIBLE = 128, 8, 1e-5
WIDTHS = (16, 24, 32, 48)
TRUNK = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
SLOPE, THRESHOLD, SHARPNESS = 1.0, 2.0, 2.0
ALIGNMENT, STORED_WEIGHT = 10.0, 0.25
LARGEST_SHARE, READINESS = 0.8, 2.0


class Part(nn.Module):
    """A network of named layers; ``arrays`` has the weights of each as Keras keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()

    def add_convolution(self, name: str, entry: int, width: int, size: int = 3, stride: int = 1, groups: int = 1):
        # TensorFlow's "same" padding of stride 2 lies after the image; see ``padded``.
        padding = size // 2 if stride == 1 else 0
        convolution = nn.Conv2d(entry, width, size, stride, padding, groups=groups, bias=False)
        self.layers[f"{name}_conv"] = convolution
        self.layers[f"{name}_norm"] = nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)

    def convolve(self, name: str, x: Tensor) -> Tensor:
        convolution = self.layers[f"{name}_conv"]
        if convolution.stride[0] == 2:
            reach = convolution.kernel_size[0] - 2
            x = F.pad(x, (reach // 2, reach - reach // 2) * 2)
        return self.layers[f"{name}_norm"](convolution(x))

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        for name, layer in self.layers.items():
            values = [torch.from_numpy(arrays[f"{name}/{i}"]) for i in range(4) if f"{name}/{i}" in arrays]
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                values = dict(zip(("weight", "bias", "running_mean", "running_var"), values, strict=True))
                layer.load_state_dict({**layer.state_dict(), **values})
                continue
            depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
            axes = (1, 0) if isinstance(layer, nn.Linear) else (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
            with torch.no_grad():
                layer.weight.copy_(values[0].permute(axes))
                if layer.bias is not None:
                    layer.bias.copy_(values[1])


def contrast(x: Tensor) -> Tensor:
    return torch.cat([x, x - x.mean((2, 3), keepdim=True)], 1)


def _residual_kernels() -> Tensor:
    kernels = np.zeros((3, 5, 5), np.float32)
    kernels[0, 2, 1:4] = np.array([1, -2, 1]) / 2
    kernels[1, 1:4, 1:4] = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4
    outer = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
    kernels[2] = np.array(outer) / 12
    return torch.from_numpy(np.tile(kernels, (3, 1, 1))[:, None])


class SelfCorrelation(nn.Module):
    """Where an image repeats itself; the search for the best shift goes by PyTorch's own FFT."""

    def __init__(self, blocks: int = 4) -> None:
        super().__init__()
        self.blocks, self.side = blocks, SIZE // blocks
        steps = np.arange(SIZE) - np.arange(blocks)[:, None] * self.side
        apart = np.minimum(steps % SIZE, -steps % SIZE) ** 2
        near = (apart[:, None, :, None] + apart[None, :, None, :]) < 64
        self.register_buffer("near", torch.from_numpy(near.reshape(blocks**2, SIZE, SIZE)))

    def cut(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.blocks, self.side, self.blocks, self.side)
        return rows.transpose(2, 3).reshape(-1, self.blocks**2, self.side, self.side)

    @staticmethod
    def window_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), 5, 1, 2).reshape(x.shape)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        grey = 255 * images.mean(1)
        padded = F.pad(grey[:, None], (1, 1, 1, 1), "reflect")[:, 0]
        around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        residual = grey - around / 4
        equalised = (residual / (self.window_mean(residual**2) + 1).sqrt()).clamp(-2, 2)
        spectrum = torch.fft.rfft2(equalised)[:, None]
        block = torch.fft.rfft2(self.cut(equalised), s=(SIZE, SIZE))
        correlation = torch.fft.irfft2(spectrum * block.conj(), s=(SIZE, SIZE))
        best = correlation.masked_fill(self.near, -torch.inf).flatten(2).argmax(-1)
        here = self.cut(residual)
        steps = torch.arange(self.side)
        rows, columns = ((part[..., None] + steps) % SIZE for part in (best // SIZE, best % SIZE))
        places = rows[..., :, None] * SIZE + columns[..., None, :]
        there = residual.flatten(1).gather(1, places.flatten(1)).reshape(here.shape)
        energy = self.window_mean(here**2) + self.window_mean(there**2)
        similarity = 2 * self.window_mean(here * there) / (energy + 0.6)
        repeated = (1.002 - similarity).log() / math.log(2e-3)
        rows = repeated.reshape(-1, self.blocks, self.blocks, self.side, self.side).transpose(2, 3)
        return rows.reshape(-1, 1, SIZE, SIZE)


class Fine(Part):
    """The encoder of faint traces: high-pass residuals and self-correlation beside RGB, three residual stages."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", _residual_kernels())
        self.self_correlation = SelfCorrelation()
        self.add_convolution("stem", 13, WIDTHS[0])
        entry = WIDTHS[0]
        for stage, width in enumerate(WIDTHS[1:], start=1):
            self.add_convolution(f"stage{stage}_entry", entry, width)
            self.add_convolution(f"stage{stage}_block1_a", width, width)
            self.add_convolution(f"stage{stage}_block1_b", width, width)
            entry = 2 * width
        self.add_convolution("mix", entry, WIDTHS[-1], size=1)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            residuals = F.conv2d(F.pad(images, (2, 2, 2, 2), "reflect"), self.kernels, groups=3)
            residuals = torch.asinh(255 * residuals) / 3
        x = torch.cat([images, residuals, self.self_correlation(images)], 1)
        x = F.relu(self.convolve("stem", x))
        for stage in range(1, len(WIDTHS)):
            x = F.relu(self.convolve(f"stage{stage}_entry", F.avg_pool2d(x, 2)))
            hidden = F.relu(self.convolve(f"stage{stage}_block1_a", x))
            x = contrast(F.relu(x + self.convolve(f"stage{stage}_block1_b", hidden)))
        return F.relu(self.convolve("mix", x))


class Robust(Part):
    """The encoder on the first stages of EfficientNet-Lite0."""

    def __init__(self) -> None:
        super().__init__()
        self.add_convolution("stem", 3, 32, stride=2)
        self.blocks, entry = [], 32
        for stage, (count, kernel, stride, expansion, channels) in enumerate(TRUNK):
            for number in range(count):
                name, wide = f"stage{stage}_block{number}", expansion * entry
                if expansion > 1:
                    self.add_convolution(f"{name}_expand", entry, wide, size=1)
                step = 1 if number else stride
                self.add_convolution(f"{name}_depthwise", wide, wide, kernel, step, groups=wide)
                self.add_convolution(f"{name}_project", wide, channels, size=1)
                self.blocks.append((stage, name, expansion > 1, step == 1 and entry == channels))
                entry = channels
        self.add_convolution("trunk_mix", 40 + 112, WIDTHS[-1], size=1)
        self.add_convolution("mix", 2 * WIDTHS[-1], WIDTHS[-1])

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self.convolve("stem", images * (255 / 128) - 127 / 128))
        outputs = {}
        for stage, name, widens, adds in self.blocks:
            entry = x
            if widens:
                x = F.relu6(self.convolve(f"{name}_expand", x))
            x = F.relu6(self.convolve(f"{name}_depthwise", x))
            x = self.convolve(f"{name}_project", x)
            outputs[stage] = x = entry + x if adds else x
        x = torch.cat([outputs[2], F.interpolate(outputs[4], scale_factor=2)], 1)
        return F.relu(self.convolve("mix", contrast(F.relu(self.convolve("trunk_mix", x)))))


def _difference(x: Tensor) -> Tensor:
    return x[:, :, 1:] - x[:, :, :-1]


def _logarithm(x: Tensor) -> Tensor:
    return (x.mean((1, 2)) + 0.05).log()


def _phases(x: Tensor) -> Tensor:
    width = x.shape[2] // 8 * 8
    return x[:, :, :width].reshape(len(x), x.shape[1], width // 8, 8).mean((1, 2))


class Gate(Part):
    """Tells from 39 statistics whether an image still is as it was stored."""

    def __init__(self) -> None:
        super().__init__()
        place, diagonal = np.arange(8), np.arange(7)
        waves = np.cos(np.pi * (2 * place + 1) * diagonal[:, None] / 16) / 2
        waves[0] /= np.sqrt(2)
        basis = np.einsum("fy,fx->fyx", waves, waves[::-1])[:, None].astype(np.float32)
        self.register_buffer("basis", torch.from_numpy(basis))
        self.layers["statistics_norm"] = nn.BatchNorm1d(39, eps=1e-3, momentum=0.1)
        self.layers["hidden"] = nn.Linear(39, 64)
        self.layers["evidence"] = nn.Linear(64, 1)

    @torch.no_grad()
    def statistics(self, images: Tensor) -> Tensor:
        levels = 255 * images
        red, green, blue = levels.unbind(1)
        planes = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))
        luma, *chroma = (r * red + g * green + b * blue for r, g, b in planes)
        grey, colour = levels.mean(1), red - green
        first, second = _difference(grey).abs(), _difference(_difference(grey)).abs()
        down = _difference(_difference(grey.mT)).abs()
        third = _difference(_difference(_difference(grey))).abs()
        colour = _difference(_difference(colour)).abs()
        strength = second.mean((1, 2))[:, None]
        logs = [_logarithm(x) for x in (second, down, third, first, colour)]
        flat = [((x < 1.5).float().mean((1, 2)) + 0.01).log() for x in (second, first, colour)]
        others = torch.stack([*logs, *flat, logs[0] - logs[3], logs[2] - logs[0]], -1)
        parts = [*(_phases(x) / (strength + 0.1) for x in (second, down)), others, self.of_blocks(luma)]
        for plane in chroma:
            across, below = _difference(plane), _difference(plane.mT)
            both = _difference(across.mT)
            phases = [_logarithm(x[:, :, ::2]) - _logarithm(x[:, :, 1::2]) for x in (across.abs(), below.abs())]
            parts.append(torch.stack([*(_logarithm(x.abs()) for x in (across, below, both)), *phases], -1))
        return torch.cat(parts, -1)

    def of_blocks(self, luma: Tensor) -> Tensor:
        nearness = F.relu(1 - F.conv2d(luma[:, None], self.basis).abs()).mean(1)
        blocks = nearness.shape[1] // 8
        whole = nearness[:, : blocks * 8, : blocks * 8].reshape(-1, blocks, 8, blocks, 8).mean((1, 3))
        highest, mean = whole.amax((1, 2)), whole.mean((1, 2))
        return torch.stack([highest, mean, highest - mean], -1)

    def forward(self, images: Tensor) -> Tensor:
        x = 5 * self.layers["statistics_norm"](self.statistics(images))
        return 5 * self.layers["evidence"](F.relu(self.layers["hidden"](x)))


class Decoder(Part):
    """Features to the reconstruction, the last doubling by sub-pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.add_convolution("up1", WIDTHS[-1], 24)
        self.add_convolution("up2", 24, 16)
        self.layers["subpixels"] = nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for name in ("up1", "up2"):
            x = F.relu(self.convolve(name, F.interpolate(x, scale_factor=2)))
        # Keras' four channels of a pixel are ordered by place first, PyTorch's by colour.
        x = self.layers["subpixels"](x).unflatten(1, (4, 3)).transpose(1, 2).flatten(1, 2)
        return torch.sigmoid(F.pixel_shuffle(x, 2))


class Twin(nn.Module):
    """The whole network; without a trunk the fine expert stands alone."""

    def __init__(self, trunk: bool) -> None:
        super().__init__()
        self.fine, self.decoder = Fine(), Decoder()
        self.robust, self.gate = (Robust(), Gate()) if trunk else (None, None)
        self.kernel, self.bias = nn.Parameter(torch.zeros(WIDTHS[-1], 1)), nn.Parameter(torch.zeros(1))

    def decide(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit (B, 1) and the map's logits (B, h, w); Grad-CAM of a linear head in closed form."""
        evidence = torch.einsum("bchw,c->bhw", features, self.kernel[:, 0]) + self.bias
        pooled = torch.logsumexp((SHARPNESS * evidence).flatten(1), 1, keepdim=True)
        logit = (pooled - math.log(evidence[0].numel())) / SHARPNESS
        return logit, SLOPE * (evidence - THRESHOLD)

    def features(self, images: Tensor) -> Tensor:
        if self.gate is None:
            return self.fine(images)
        share = self.fine_share(images)
        return share * self.fine(images) + (1 - share) * self.robust(images)

    def routed_features(self, images: Tensor) -> Tensor:
        if self.gate is None:
            return self.fine(images)
        share = self.fine_share(images)
        found = (1 - share) * self.robust(images)
        places = (share[:, 0, 0, 0] > NEGLIGIBLE).nonzero()[:, 0]
        if len(places):
            found[places] += share[places] * self.fine(images[places])
        return found

    def fine_share(self, images: Tensor) -> Tensor:
        """Return what the fine expert has of the features, (B, 1, 1, 1)."""
        return LARGEST_SHARE * torch.sigmoid(self.gate(images) + READINESS)[:, :, None, None]

    def everything(self, images: Tensor) -> dict[str, Tensor]:
        """Return what ``LAE.call`` does, images (B, S, S, 3)."""
        features = self.features(images)
        logit, evidence = self.decide(features)
        attention = F.interpolate(torch.sigmoid(evidence)[:, None], (SIZE, SIZE), mode="bilinear")[:, 0]
        return {
            "score": torch.sigmoid(logit),
            "logit": logit,
            "attention": attention,
            "reconstruction": self.decoder(features).permute(0, 2, 3, 1),
            "latent": features.mean((2, 3)),
        }

    def decision(self, images: Tensor, routed: bool) -> dict[str, Tensor]:
        """Return logit and map; ``routed`` asks the fine expert only where it counts, as ``decide_on_batch`` does."""
        features = self.routed_features(images) if routed else self.features(images)
        return dict(zip(("logit", "map_logits"), self.decide(features), strict=True))

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return what ``LAE.train_batch`` minimises; each expert sees its own view of a batch."""
        images, degraded = batch["image"], batch["degraded"]
        label, mask, known = batch["label"], batch["mask"], batch["mask_weight"]
        extra = 0.0
        if self.gate is None:
            seen = degraded
            features = self.fine(seen)
        else:
            seen = torch.cat([images, degraded])
            features = torch.cat([self.fine(images), self.robust(degraded)])
            weight = torch.tensor(STORED_WEIGHT)
            stored = (images == degraded).flatten(1).all(1, keepdim=True).float()
            extra = F.binary_cross_entropy_with_logits(self.gate(degraded), stored, pos_weight=weight)
            label, mask, known = (torch.cat([part, part]) for part in (label, mask, known))
        logit, evidence = self.decide(features)
        cells = F.avg_pool2d(mask, STRIDE)[:, 0]
        aligned = F.binary_cross_entropy_with_logits(evidence, cells, reduction="none").mean((1, 2))
        alignment = (known[:, 0] * aligned).sum() / known.sum()
        reconstruction = (seen - self.decoder(features)).abs().mean()
        return reconstruction + F.binary_cross_entropy_with_logits(logit, label) + ALIGNMENT * alignment + extra


def load_weights(twin: Twin, arrays: Mapping[str, np.ndarray]) -> None:
    """Take weights from arrays named ``part/layer/number``."""
    for name in ("fine", "robust", "gate", "decoder"):
        part = getattr(twin, name)
        if part is not None:
            part.load({key.partition("/")[2]: arrays[key] for key in arrays if key.startswith(f"{name}/")})
    with torch.no_grad():
        twin.kernel.copy_(torch.from_numpy(arrays["head/kernel"]))
        twin.bias.copy_(torch.from_numpy(arrays["head/bias"]))
