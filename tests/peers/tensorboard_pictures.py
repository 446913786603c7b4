"""Takes the pictures of TensorBoard in docs/pictures/, of the folder above a run of pre-training.

  python -m tests.peers.tensorboard_pictures LOGDIR
"""

import sys

from tests.house import ROOT
from tests.peers.tensorboard_page import opened

# Name -> panel, what says that it is drawn, height in pixels.
PICTURES = {"charts": ("custom_scalars", "all('path.line').length > 0", 620),
            "samples": ("text", "all('strong').length > 0", 700)}

if __name__ == "__main__":
    with opened(sys.argv[1]) as page:
        for name, (panel, is_drawn, height) in PICTURES.items():
            page.driver.set_window_size(1400, height)
            page.shows(panel, is_drawn, True)
            page.driver.save_screenshot(
                str(ROOT / "docs" / "pictures" / f"tensorboard_{name}.png"))
