"""An oracle for the two library sources: raw MT19937, then what SPEC.md says is made of it."""

import math

import numpy as np


class MersenneTwister:
    """MT19937 of Matsumoto and Nishimura, started by its 32-bit initialiser."""

    def __init__(self, seed):
        self.state = [seed & 0xFFFFFFFF]
        for i in range(1, 624):
            last = self.state[-1]
            self.state.append((1812433253 * (last ^ (last >> 30)) + i) & 0xFFFFFFFF)
        self.position = 624

    def draw(self):
        if self.position == 624:
            self._twist()
        y = self.state[self.position]
        self.position += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C5680
        y ^= (y << 15) & 0xEFC60000
        return y ^ (y >> 18)

    def _twist(self):
        x = self.state
        for k in range(624):
            y = (x[k] & 0x80000000) | (x[(k + 1) % 624] & 0x7FFFFFFF)
            x[k] = x[(k + 397) % 624] ^ (y >> 1) ^ (0x9908B0DF if y & 1 else 0)
        self.position = 0


class TorchOracle:
    def __init__(self, seed):
        self.engine = MersenneTwister(seed)
        self.kept = None

    def rand(self, count):
        return [(self.engine.draw() & 0xFFFFFF) * 2.0**-24 for _ in range(count)]

    def randn(self, count):
        if count < 16:
            return np.array([self._pairwise() for _ in range(count)], np.float32)
        x = self.rand(count)
        for start in range(0, count - 15, 16):
            x[start : start + 16] = self._block(x[start : start + 16])
        if count % 16:
            x[-16:] = self._block(self.rand(16))
        return np.array(x, np.float32)

    def _double(self):
        upper, lower = self.engine.draw(), self.engine.draw()
        return (((upper << 32) | lower) & ((1 << 53) - 1)) * 2.0**-53

    def _pairwise(self):
        if self.kept is not None:
            value, self.kept = self.kept, None
            return value
        u1, u2 = self._double(), self._double()
        radius = math.sqrt(-2 * math.log1p(-u2))
        self.kept = radius * math.sin(2 * math.pi * u1)
        return radius * math.cos(2 * math.pi * u1)

    @staticmethod
    def _block(x):
        out = [0.0] * 16
        for j in range(8):
            radius = math.sqrt(-2 * math.log(1 - x[j]))
            angle = 2 * math.pi * x[j + 8]
            out[j], out[j + 8] = radius * math.cos(angle), radius * math.sin(angle)
        return out


class NumpyOracle:
    def __init__(self, seed):
        self.engine = MersenneTwister(seed)
        self.kept = None

    def random(self):
        upper, lower = self.engine.draw() >> 5, self.engine.draw() >> 6
        return (upper * 67108864.0 + lower) / 9007199254740992.0

    def randn(self, count):
        return np.array([self._polar() for _ in range(count)])

    def _polar(self):
        if self.kept is not None:
            value, self.kept = self.kept, None
            return value
        while True:
            x1, x2 = 2 * self.random() - 1, 2 * self.random() - 1
            square = x1 * x1 + x2 * x2
            if 0 < square < 1:
                break
        factor = math.sqrt(-2 * math.log(square) / square)
        self.kept = factor * x1
        return factor * x2
