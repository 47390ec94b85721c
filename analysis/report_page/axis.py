"""An axis of a chart: from values to pixels, and the round numbers beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values from ``low`` to ``high``, linear or logarithmic, over ``pixels``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> "Axis":
        low, high = min(values), max(values)
        if log:
            return cls(low=low, high=high if high > low else low * 10, start=start, end=end, log=True)
        room = 0.04 * (high - low) or abs(high) * 0.1 or 1
        return cls(low=low - room, high=high + room, start=start, end=end)

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        """About five round numbers; on a logarithmic axis powers of ten, and 2 and 5 of them if they are few."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            tens = [10.0**k for k in powers if self.low <= 10.0**k <= self.high]
            finer = [f * 10.0**k for k in powers for f in (1, 2, 5) if self.low <= f * 10.0**k <= self.high]
            return tens[:: -(-len(tens) // 6)] if len(tens) > 2 else finer
        rough = (self.high - self.low) / 4
        power = 10 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * 0.7)
        first = math.ceil(self.low / step)
        return [round(k * step, 12) for k in range(first, math.floor(self.high / step) + 1)]
