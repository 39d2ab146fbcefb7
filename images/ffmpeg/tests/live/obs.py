"""OBS as a person starts it who changed nothing but server and key: Debian's package, in a virtual screen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from publishers import Publisher

SCREEN = "1280x720x24"
GLOBAL = """[General]
FirstRun=true
EnableAutoUpdates=false
ConfirmOnExit=false
[Basic]
Profile=Untitled
ProfileDir=Untitled
SceneCollection=Untitled
SceneCollectionFile=Untitled
"""
# Output mode, encoder, bitrate and keyframe interval are not said, so that they are what OBS begins with.
PROFILE = """[General]
Name=Untitled
"""


def scene(picture: Path) -> dict[str, Any]:
    """Return a scene collection in which *picture* moves slowly: x264 would set a keyframe of its own at each cut."""
    scroll = {"name": "Scroll", "id": "scroll_filter", "settings": {"speed_x": 40.0}}
    return {
        "name": "Untitled",
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "sources": [
            {"name": "Picture", "id": "image_source", "settings": {"file": str(picture)}, "filters": [scroll]},
            {"name": "Scene", "id": "scene", "settings": {"items": [{"name": "Picture", "id": 1, "visible": True}]}},
        ],
    }


class Obs(Publisher):
    """An OBS that streams a picture to *server* with the stream *key*. What it writes goes to files in *home*."""

    def __init__(self, server: str, key: str, home: Path) -> None:
        self.log = home / "obs.log"
        picture = home / "picture.png"
        draw = ["ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720", "-frames:v", "1"]
        subprocess.run([*draw, str(picture)], check=True)
        settings = home / ".config/obs-studio"
        service = {"type": "rtmp_custom", "settings": {"server": server, "key": key, "use_auth": False}}
        for name, content in {
            "global.ini": GLOBAL,
            "basic/profiles/Untitled/basic.ini": PROFILE,
            "basic/profiles/Untitled/service.json": json.dumps(service),
            "basic/scenes/Untitled.json": json.dumps(scene(picture)),
        }.items():
            file = settings / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        read, write = os.pipe()
        with (home / "screen.log").open("wb") as log:
            self.screen = subprocess.Popen(
                ["Xvfb", "-displayfd", str(write), "-screen", "0", SCREEN, "-nolisten", "tcp"],
                pass_fds=[write],
                stdout=log,
                stderr=log,
            )
        os.close(write)
        with os.fdopen(read) as answer:
            display = answer.readline().strip()
        environment = os.environ | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_RUNTIME_DIR": str(home),
            "DISPLAY": f":{display}",
            "QT_QPA_PLATFORM": "xcb",
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["obs", "--startstreaming", "--minimize-to-tray", "--disable-missing-files-check", "--multi"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def tail(self, length: int = 500) -> str:
        """Return the end of what it has said, in characters."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-length:]

    def stop(self) -> str:
        """End it, and return the last of its log where it had ended by itself, or that it did not end."""
        ended = not self.running
        if not ended:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)  # it comes to it late on a busy machine
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "it had to be killed"
        finally:
            self.screen.terminate()
            self.screen.wait(10)
        return self.tail() if ended else ""

    def cut(self) -> None:
        """Kill it."""
        self.process.kill()
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None
