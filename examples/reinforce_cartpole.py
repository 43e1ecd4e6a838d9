"""Teach a network to balance a pole on a cart with REINFORCE, on an environment written here.

    pip install '.[demo]' && python examples/reinforce_cartpole.py

Many carts run side by side as one tensor. Writes to --out: reinforce_cartpole.png (learning curve; pole angle and cart place before and
after; a strip of pictures).

Shapes: E environments, T time steps; a state is (place, speed, angle, turning speed). Sources: Williams, Simple Statistical
Gradient-Following Algorithms, 1992; the cart's physics: Barto, Sutton and Anderson, 1983.
"""

from __future__ import annotations

import math

import numpy as np
from support import command_line, figure, finish, progress, start

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

LONGEST = 200  # steps of an episode, 4 seconds


class CartPole:
    """`count` carts on rails of 2.4 m to either side; an episode ends when the pole leans over 12 degrees or the cart leaves the rails."""

    gravity, force, tick = 9.8, 10.0, 0.02
    cart, pole, half_length = 1.0, 0.1, 0.5  # kg, kg, m

    def __init__(self, count: int) -> None:
        self.state_E4 = (mg.rand(count, 4) - 0.5) * 0.1

    def step(self, right_E: mg.Tensor) -> mg.Tensor:
        """Push every cart to the right (1) or left (0) for one tick; returns which still stand, (E,) bool."""
        x, v, angle, turning = self.state_E4.unbind(1)
        push = self.force * (2 * right_E - 1)
        cos, sin = angle.cos(), angle.sin()
        mass = self.cart + self.pole
        shared = (push + self.pole * self.half_length * turning.square() * sin) / mass
        turn = (self.gravity * sin - cos * shared) / (self.half_length * (4 / 3 - self.pole * cos.square() / mass))
        acceleration = shared - self.pole * self.half_length * turn * cos / mass
        t = self.tick
        self.state_E4 = mg.stack([x + t * v, v + t * acceleration, angle + t * turning, turning + t * turn], 1)
        return (self.state_E4[:, 0].abs() < 2.4) & (self.state_E4[:, 2].abs() < math.radians(12))


class Policy(nn.Module):
    """States (…, 4) to the log-odds of pushing right and the expected return, both (…)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.act, self.expect = nn.Linear(width, 1), nn.Linear(width, 1)
        self.register_buffer("scale", mg.tensor([1.0, 1.0, 5.0, 1.0]))

    def forward(self, state: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        """(log-odds, expected return in units of 100 steps)."""
        hidden = self.body(state * self.scale)
        return self.act(hidden)[..., 0], self.expect(hidden)[..., 0]


@mg.no_grad()
def play(policy: Policy, count: int, best: bool = False) -> tuple[mg.Tensor, mg.Tensor, mg.Tensor]:
    """Episodes of `count` carts: states (T, E, 4), pushes (T, E) and whether the cart still stood before the push (T, E)."""
    world = CartPole(count)
    alive_E = mg.ones(count, dtype=mg.bool)
    states, pushes, standing = [], [], []
    while len(states) < LONGEST and alive_E.any():
        odds_E, _ = policy(world.state_E4)
        right_E = (odds_E > 0).float() if best else mg.bernoulli(odds_E.sigmoid())
        states.append(world.state_E4)
        pushes.append(right_E)
        standing.append(alive_E)
        alive_E = alive_E & world.step(right_E)
    return mg.stack(states), mg.stack(pushes), mg.stack(standing).float()


def returns(standing_TE: mg.Tensor, discount: float = 0.98) -> mg.Tensor:
    """Discounted steps still to come, in units of 100."""
    total, out = mg.zeros(standing_TE.shape[1]), []
    for alive_E in standing_TE.flip(0):
        total = alive_E * (1 + discount * total)
        out.append(total)
    return mg.stack(out[::-1]) / 100


def loss(policy: Policy, states_TE4: mg.Tensor, pushes_TE: mg.Tensor, standing_TE: mg.Tensor) -> mg.Tensor:
    """REINFORCE with a learned baseline, plus the baseline's own error."""
    gained_TE = returns(standing_TE)
    odds_TE, expected_TE = policy(states_TE4)
    surprise_TE = -F.binary_cross_entropy_with_logits(odds_TE, pushes_TE, reduction="none")  # log-probability of what was done
    advantage_TE = gained_TE - expected_TE.detach()
    count = standing_TE.sum()
    centre = (advantage_TE * standing_TE).sum() / count
    spread = ((advantage_TE - centre).square() * standing_TE).sum().div(count).sqrt() + 1e-6
    gain = (surprise_TE * (advantage_TE - centre) / spread * standing_TE).sum() / count
    return -gain + ((expected_TE - gained_TE).square() * standing_TE).sum() / count


def strip(axes, states_T4: mg.Tensor, title: str) -> None:
    """Draw cart and pole at moments of an episode."""
    times = np.linspace(0, len(states_T4) - 1, 12).round().astype(int)
    for place, t in enumerate(times):
        x, _, angle, _ = states_T4[t].tolist()
        base = place * 1.2 + x * 0.2
        axes.plot([base - 0.2, base + 0.2], [0, 0], color="tab:blue", linewidth=5)
        axes.plot([base, base + math.sin(angle)], [0, math.cos(angle)], color="tab:orange", linewidth=2.5)
    axes.set(title=title, aspect="equal", yticks=[], xticks=[], ylim=(-0.1, 1.1))


def main() -> None:
    """Learn, test, draw."""
    parser = command_line(__doc__, steps=80, unit="rounds of episodes")
    parser.add_argument("--carts", type=int, default=32, metavar="N", help="episodes per round (default %(default)s)")
    options = start(parser)
    policy = Policy()
    optimizer = mg.optim.Adam(policy.parameters(), lr=5e-3)
    before, _, _ = play(policy, 1)
    lengths = []
    bar = progress(range(options.steps), desc="learning", unit="round")
    for _ in bar:
        episodes = play(policy, options.carts)
        lengths.append(episodes[2].sum(0).mean().item())
        cost = loss(policy, *episodes)
        optimizer.zero_grad()
        cost.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix(steps=f"{lengths[-1]:.0f}", refresh=False)
    tested = play(policy, 200, best=True)
    stood = tested[2].sum(0)
    mean, least = stood.mean().item(), stood.min().item()
    print(f"200 test episodes, always the likelier push: the pole stands {mean:.1f} of {LONGEST} steps, at least {least:.0f}")
    drawing, axes = figure(2, 2, (13, 5), height_ratios=(4, 1))
    axes[0, 0].plot(lengths)
    axes[0, 0].set(title=f"steps the pole stands (at most {LONGEST})", xlabel="round")
    for k in range(8):
        shown = tested[0][: int(stood[k]), k]
        axes[0, 1].plot(np.degrees(shown[:, 2].numpy()), linewidth=0.8)
    axes[0, 1].set(title="angle of the pole in test episodes", xlabel="step", ylabel="degrees")
    strip(axes[1, 0], before[:, 0], f"before learning: falls after {len(before)} steps")
    strip(axes[1, 1], tested[0][: int(stood[0]), 0], f"after learning: {int(stood[0])} steps")
    path = options.out / "reinforce_cartpole.png"
    drawing.savefig(path, dpi=110)
    finish(options, path)


if __name__ == "__main__":
    main()
