"""Pictures that stand in a page itself."""

import base64
import io

import numpy as np
import numpy.typing as npt


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A grey picture (rows, columns), 0 black and 255 white, as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()


def png_uri(content: bytes) -> str:
    """A PNG file as text that stands in a page."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
