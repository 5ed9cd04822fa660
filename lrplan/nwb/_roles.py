"""What a ROI series holds, as its names and its place in the file say.

The words are those that suite2p, CaImAn, EXTRACT, neuroconv, the Allen Institute (AllenSDK and
AIND) and pynwb's own examples write.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DFF = "dff"
FLUORESCENCE = "fluorescence"
READ = (DFF, FLUORESCENCE)
"""Roles that are read without being named, the better first."""

_CORRECTED = r"(neuropil|npil|np|background|bg)[ _-]*(corrected|subtracted|removed)|corrected|demix"
# Each role and the words for it, in the order in which they are looked for.
_OTHERS = (
    ("neuropil", r"neuropil|f_?neu|(^|[_ ])npil"),
    ("background", r"background|surround|residual|(^|[_ ])bg|(?<!de)nois"),
    ("baseline", r"baseline|(^|[_ ])f_?0($|[_ ])"),
    ("normalised", r"z_?scored?|normali[sz]ed|(^|[_ ])norm($|[_ ])"),
)
_DECONVOLVED = r"deconv|event|spike|spks|inferred"
_DFF = r"dff|df_?(over_?)?f|delta_?f"
# Second versions of a signal: read if there is no plain one.
_VERSIONS = r"denois|smooth|filter|detrend|uncorrected|raw|decay|downsampl"
_SECOND_CHANNEL = r"chan(nel)?_?2|ch_?2|(^|[_ ])red($|[_ ])|static|tdtomato|mcherry"


@dataclass(frozen=True)
class Role:
    """What a series holds, and how good a version of it.

    Parameters
    ----------
    name : str
        ``dff``, ``fluorescence``, ``neuropil``, ``background``, ``baseline``, ``normalised`` or
        ``deconvolved``.
    rank : int
        Of series of one role the lowest is read.
    """

    name: str
    rank: int


def role_of(path: str, container: str, table: str | None) -> Role:
    """Return the role of a series.

    Parameters
    ----------
    path : str
        Where it lies.
    container : str
        Type of the group that holds it, such as ``DfOverF``.
    table : str or None
        Path of its table of regions: neuroconv keeps the background's in one of its own.
    """
    holder, own = ["", *path.lower().replace("-", "_").split("/")][-2:]
    near = f"{holder}/{own}"
    if table is not None and "background" in table.rsplit("/", 1)[-1].lower():
        return Role("background", 0)
    for name, words in _OTHERS:
        for part in (own, holder):
            subtracted = name in ("neuropil", "background") and _is_corrected(part)
            if re.search(words, part) and not subtracted:
                return Role(name, 0)
    if re.search(_DECONVOLVED, own):
        return Role("deconvolved", 0)
    is_dff = container == "DfOverF" or bool(re.search(_DFF, near))
    if not is_dff and re.search(_DECONVOLVED, near):
        return Role("deconvolved", 0)
    if re.search(_SECOND_CHANNEL, own):
        rank = 3
    elif re.search(_VERSIONS, own) and not (not is_dff and re.search(r"raw", own)):
        rank = 2
    else:
        # Fluorescence from which neuropil was taken is better than what it was taken from.
        rank = 0 if is_dff or _is_corrected(own) or _is_corrected(holder) else 1
    return Role(DFF if is_dff else FLUORESCENCE, rank)


def _is_corrected(part: str) -> bool:
    """Return whether a name says that neuropil or background was taken off."""
    other = re.search(r"uncorrected|motion", part) is not None
    return not other and re.search(_CORRECTED, part) is not None
