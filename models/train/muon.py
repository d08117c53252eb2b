"""Muon: momentum whose matrices are brought near to orthogonal ones before they are applied (Keller Jordan, 2024).

A gradient matrix of a small network is dominated by a few directions. Muon steps equally far in all of them: it replaces
the momentum M = U S V' by about U V', found by a Newton-Schulz iteration. The step is scaled so that its root mean square
is that of AdamW's (0.2), hence the same learning rate serves both. Matrices of one shape go through together.
"""
import torch


def orthogonal(m, precision, steps=5):
    """m [n, rows, cols], rows <= cols -> about U V' of each; the iteration runs in `precision`."""
    x = (m / (m.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(precision)
    for _ in range(steps):
        a = x @ x.mT
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x.float()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1, precision=torch.bfloat16):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.precision = precision

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group['params']:
                if p.grad is not None:
                    by_shape.setdefault(tuple(sorted(p.shape)), []).append(p)
            for (rows, cols), params in by_shape.items():
                self.apply(group, rows, cols, params)

    def apply(self, group, rows, cols, params):
        wide = []
        for p in params:
            state = self.state[p]
            if not state:
                state['momentum'] = torch.zeros_like(p)
            m = state['momentum'].lerp_(p.grad, 1 - group['momentum'])
            nesterov = p.grad.lerp(m, group['momentum'])
            wide.append(nesterov if p.shape[0] == rows else nesterov.T)
        updates = orthogonal(torch.stack(wide), self.precision) * (0.2 * cols ** 0.5)
        for p, update in zip(params, updates):
            p.mul_(1 - group['lr'] * group['weight_decay'])
            p.sub_(update if p.shape[0] == rows else update.T, alpha=group['lr'])
