"""TensorBoard in a headless browser, as a person sees it.

Its dashboards are custom elements with shadow trees inside shadow trees, which selectors do not
enter: a query is a line of JavaScript that has `all(selector, root)` for all of them.
"""

from collections.abc import Iterator
import contextlib
import re
import shutil
import subprocess
import sys
import time
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_ALL = """
const all = (selector, root = document) => [
  ...root.querySelectorAll(selector),
  ...[root, ...root.querySelectorAll('*')].filter(each => each.shadowRoot)
    .flatMap(each => all(selector, each.shadowRoot))];
return """
_SECONDS = 10.0  # for a page to show what is there; TensorBoard may have read only half by then
_TRIES = 6


class Page:
    """TensorBoard's page; `url` is where it is served."""

    def __init__(self, driver: webdriver.Chrome, url: str):
        self.driver = driver
        self._url = url

    def shows(self, panel: str, query: str, expected: Any) -> None:
        """Opens a panel and waits until it shows what is expected; fails with what it shows."""
        for _ in range(_TRIES):
            self.driver.get("about:blank")  # of an address that differs after # alone it loads none
            self.driver.get(f"{self._url}#{panel}")
            end = time.monotonic() + _SECONDS
            while time.monotonic() < end:
                found = self.driver.execute_script(_ALL + query)
                if found == expected:
                    return
                time.sleep(0.1)
        assert found == expected, found


@contextlib.contextmanager
def opened(logdir: str) -> Iterator[Page]:
    """Serves `logdir` on the loopback address and opens the page."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tensorboard.main", f"--logdir={logdir}",
             "--host=127.0.0.1", "--port=0"], stderr=subprocess.PIPE, text=True))
        stack.callback(server.terminate)
        log = []
        for line in server.stderr:
            log.append(line)
            if served := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        else:
            raise AssertionError("".join(log))
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--window-size=1400,1000", "--hide-scrollbars",
                         # As root, and where /dev/shm is small, as in containers.
                         "--no-sandbox", "--disable-dev-shm-usage",
                         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        stack.callback(driver.quit)
        yield Page(driver, served[0])
