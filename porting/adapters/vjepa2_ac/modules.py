"""V-JEPA 2-AC's components: frames to latents, one step of the rollout, one iteration of the planner."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from porting.adapters.vjepa2.modules import IMAGE_MEAN, IMAGE_STD
from porting.adapters.vjepa2_ac.config import GRIPPER, ROTATION, TRANSLATION, Settings
from porting.adapters.vjepa2_ac.predictor import ActionPredictor


class FrameEncoder(nn.Module):
    """Frames to layer-normed latents, each frame by itself: it is repeated to fill one tubelet."""

    def __init__(self, encoder: nn.Module, goal: bool) -> None:
        """Wrap a `VJEPA2Encoder`; with `goal` the last frame is the goal, and its latents an output of their own."""
        super().__init__()
        self.encoder, self.goal = encoder, goal
        self.mean = nn.Buffer(torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """frames (1, F, 3, H, W) in [0, 1] -> latents (1, F, tokens, width), or those of F - 1 frames and the goal."""
        alone = ((frames - self.mean) / self.std).transpose(0, 1)
        latents = norm(self.encoder(alone).last_hidden_state).unsqueeze(0)
        return (latents[:, :-1], latents[:, -1]) if self.goal else latents


class Opener(nn.Module):
    """What the arm did before the session, into the states of the window."""

    def forward(self, first_poses: Tensor, first_actions: Tensor) -> tuple[Tensor, Tensor]:
        """(1, window, 7) and (1, window - 1, 7), copied."""
        return first_poses.clone(), first_actions.clone()


class Step(nn.Module):
    """One action: the latents and the pose after it, and the window rolled on by one frame."""

    def __init__(self, predictor: ActionPredictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(
        self, latents: Tensor, past_actions: Tensor, poses: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step.

        Args:
            latents: (B, window, tokens, width).
            past_actions: (B, window - 1, 7), of every frame of the window but the last.
            poses: (B, window, 7).
            action: (B, 7), of the last frame.

        Returns:
            The predicted latents (B, tokens, width), layer-normed; then latents, past actions and poses one frame on.
        """
        actions = torch.cat([past_actions, action[:, None]], dim=1)
        predicted = norm(self.predictor(latents, actions, poses)[:, -1])
        pose = move(poses[:, -1], action)
        return (
            predicted,
            torch.cat([latents[:, 1:], predicted[:, None]], dim=1),
            actions[:, 1:],
            torch.cat([poses[:, 1:], pose[:, None]], dim=1),
        )


class Planner(nn.Module):
    """One iteration of the cross-entropy method: try action sequences, keep the best, narrow the distribution.

    An action that is planned moves and grips; it does not turn. Source: facebookresearch/vjepa2, notebooks/utils/
    mpc_utils.py; energies are mean absolute differences from the goal's latents at the end of the sequence.
    """

    def __init__(self, predictor: ActionPredictor, settings: Settings) -> None:
        super().__init__()
        self.step, self.settings = Step(predictor), settings
        limits = [settings.max_translation] * TRANSLATION + [settings.max_gripper] * GRIPPER
        self.limit = nn.Buffer(torch.tensor(limits), persistent=False)

    def forward(
        self,
        latents: Tensor,
        past_actions: Tensor,
        poses: Tensor,
        goal: Tensor,
        mean: Tensor,
        std: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One iteration.

        Args:
            latents: (1, window, tokens, width).
            past_actions: (1, window - 1, 7).
            poses: (1, window, 7).
            goal: (1, tokens, width).
            mean: (horizon * 4,), of the distribution of actions.
            std: (horizon * 4,).
            noise: (samples, horizon, 4), standard normal.

        Returns:
            mean and std of the next iteration, and the first action of the mean, (1, 7).
        """
        settings = self.settings
        shape = (settings.horizon, TRANSLATION + GRIPPER)
        tried = noise * std.view(shape) + mean.view(shape)
        tried = torch.minimum(torch.maximum(tried, -self.limit), self.limit)
        window = tuple(state.expand(settings.samples, *state.shape[1:]) for state in (latents, past_actions, poses))
        predicted = goal
        for ahead in range(settings.horizon):
            predicted, *rolled = self.step(*window, _with_rotation(tried[:, ahead]))
            window = (rolled[0], rolled[1], rolled[2])
        energies = (predicted - goal).abs().mean(dim=(1, 2))
        best = torch.topk(energies, settings.elites, largest=False).indices
        elites = tried[best]
        next_mean = _blend(mean, elites.mean(dim=0).flatten(), settings.momentum_mean)
        next_std = _blend(std, elites.std(dim=0).flatten(), settings.momentum_std)
        return next_mean, next_std, _with_rotation(next_mean.view(shape)[:1])


def norm(latents: Tensor) -> Tensor:
    """Layer norm without weights: what the published rollout does to every latent that it feeds back."""
    return F.layer_norm(latents, latents.shape[-1:])


def move(pose: Tensor, action: Tensor) -> Tensor:
    """The pose (B, 7) after an action (B, 7): translations add, rotations compose, the gripper stays in [0, 1]."""
    parts = [TRANSLATION, ROTATION, GRIPPER]
    place, angles, grip = pose.split(parts, dim=-1)
    shift, turn, change = action.split(parts, dim=-1)
    turned = to_angles(to_matrix(turn) @ to_matrix(angles))
    return torch.cat([place + shift, turned, (grip + change).clamp(0, 1)], dim=-1)


def to_matrix(angles: Tensor) -> Tensor:
    """Rotations about the fixed axes x, then y, then z: angles (B, 3) in radians -> matrices (B, 3, 3)."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = (
        (cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        (sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        (-sy, cy * sx, cy * cx),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def to_angles(matrix: Tensor) -> Tensor:
    """The inverse of `to_matrix`, y within a quarter turn either way."""
    x = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    y = torch.atan2(-matrix[..., 2, 0], (matrix[..., 0, 0] ** 2 + matrix[..., 1, 0] ** 2).sqrt())
    z = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([x, y, z], dim=-1)


def _with_rotation(planned: Tensor) -> Tensor:
    """Planned actions (B, 4) as whole ones (B, 7), which do not turn."""
    moved, grip = planned.split([TRANSLATION, GRIPPER], dim=-1)
    return torch.cat([moved, torch.zeros_like(moved), grip], dim=-1)


def _blend(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    return new * (1 - momentum) + old * momentum
