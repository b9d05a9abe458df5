"""Shares written as percentages."""


def percent(share: float | None, digits: int = 2) -> str:
    """Writes a share, 0..1, with a percent sign; "-" for None.

    Never rounded up to 100: "100.00%" means every pixel, and 0.99999 gives ">99.99%".
    """
    if share is None:
        return "-"
    text = f"{share:.{digits}%}"
    if share < 1 and text.startswith("100"):
        return f">{100 - 10**-digits:.{digits}f}%"
    return text


def percent_cell(share: float | None, digits: int = 2) -> str:
    """Writes a share, 0..1, for a table whose heading names the unit; "-" for None and NaN."""
    return "-" if share is None or share != share else f"{100 * share:.{digits}f}"
