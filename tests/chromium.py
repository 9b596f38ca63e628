"""A real headless Chromium for tests of pages."""

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1000"
)


def start_chromium(profile: Path) -> webdriver.Chrome:
    """Start a browser with a profile of its own; skips the test where there is none, except in CI."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        reason = "no chromium with chromedriver on the PATH"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI must not go without the tests of the page")
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
