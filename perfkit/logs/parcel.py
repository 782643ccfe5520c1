"""Readings on their way from one process to another.

A pickled frame is mostly the types of its categories: each one's texts are an Arrow array with a
schema. As plain texts they take half the time, and those that logs share are made once.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from perfkit.errors import LogError
from perfkit.logs.arrowtext import category_type
from perfkit.logs.format import Reading


@dataclass(frozen=True, slots=True)
class Parcel:
    """What became of some logs, in their order; it is packed only when it is pickled."""

    found: list[Reading | LogError]

    def __reduce__(self) -> tuple[Callable[[bytes], Parcel], tuple[bytes]]:
        return _unpacked, (_packed(self.found),)


def _packed(found: list[Reading | LogError]) -> bytes:
    target = io.BytesIO()
    pickler = pickle.Pickler(target, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {pd.CategoricalDtype: _reduced_type}
    pickler.dump(found)
    return target.getvalue()


def _unpacked(packed: bytes) -> Parcel:
    return Parcel(pickle.loads(packed))  # noqa: S301 - part of a pickle that was being loaded


def _reduced_type(dtype: pd.CategoricalDtype) -> str | tuple[Any, ...]:
    names = dtype.categories
    if dtype.ordered or names.dtype != "str":  # not one that our parsers make
        return dtype.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    return category_type, (tuple(names.to_list()),)
