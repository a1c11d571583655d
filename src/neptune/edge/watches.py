"""Wakes the monitor early: inotify on the directories that hold the files of datasets. The one door to asyncinotify.

A hint only: the stat poll of `monitor` is the truth, and where inotify is not to be had (no watches or instances left,
a network file system, no permission) nothing is missed, only seen later.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from asyncinotify import Inotify, Mask, Watch

from neptune.log import get_logger

_log = get_logger()

_MASK = (
    Mask.MODIFY | Mask.ATTRIB | Mask.CLOSE_WRITE | Mask.CREATE | Mask.DELETE | Mask.MOVE
    | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
)  # fmt: skip
_GONE = Mask.MOVE_SELF | Mask.DELETE_SELF | Mask.IGNORED | Mask.UNMOUNT
#: The limits of inotify(7): instances and open files; watches.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC)


class Watches:
    """Which directory is watched for which datasets.

    `wake` is called with the uid of a dataset to whose file something happened, `wake_all` when events were lost.
    """

    def __init__(self, wake: Callable[[str], None], wake_all: Callable[[], None]) -> None:
        self._wake = wake
        self._wake_all = wake_all
        self._paths: dict[str, str] = {}
        # By folder and by name in it; tuples, because there are thousands, and nearly all of one.
        self._uids: dict[str, dict[str, tuple[str, ...]]] = {}
        self._folders: dict[str, Watch] = {}
        self._is_exhausted = False
        self._inotify = self._open()

    def watch(self, uid: str, path: str | None) -> bool:
        """Watch for what happens to `path` on behalf of a dataset; None ends that. Cheap when nothing changed.

        With a slash at its end a path stands for whatever is in that folder. Returns whether events will tell.
        """
        if self._paths.get(uid) != path:
            self._unwatch(uid)
            if path is not None:
                self._paths[uid] = path
                folder, name = os.path.split(path)
                names = self._uids.setdefault(folder, {})
                names[name] = (*names.get(name, ()), uid)
        if path is None:
            return False
        folder = os.path.split(path)[0]
        self._watch_folder(folder)
        return folder in self._folders

    async def run(self) -> None:
        """Hand on events until cancelled."""
        if self._inotify is None:
            return
        while True:
            event = await self._inotify.get()
            if Mask.Q_OVERFLOW in event.mask:
                self._wake_all()
                continue
            if event.watch is None:
                continue
            folder = str(event.watch.path)
            if event.name is None:
                self._on_folder(folder, event.watch, event.mask)
                continue
            names = self._uids.get(folder, {})
            for uid in (*names.get(str(event.name), ()), *names.get("", ())):
                self._wake(uid)

    def close(self) -> None:
        """Give the watches back."""
        if self._inotify is not None:
            self._inotify.close()

    def _open(self) -> Inotify | None:
        try:
            return Inotify()
        except OSError as error:
            self._say(error)
            return None

    def _watch_folder(self, folder: str) -> None:
        if self._inotify is None or folder in self._folders:
            return
        try:
            self._folders[folder] = self._inotify.add_watch(folder, _MASK)
        except OSError as error:
            # A folder that is missing or cannot be read is tried again with the next poll.
            if error.errno in _EXHAUSTED:
                self._say(error)
        else:
            # What happened before the watch was there was not seen.
            self._wake_folder(folder)

    def _on_folder(self, folder: str, watch: Watch, mask: Mask) -> None:
        """The folder itself changed: the next look watches whatever has its name then."""
        if self._folders.get(folder) is not watch:
            return  # the echo of a watch that was dropped before
        if mask & _GONE:
            self._drop_folder(folder)
        self._wake_folder(folder)

    def _wake_folder(self, folder: str) -> None:
        for uids in list(self._uids.get(folder, {}).values()):
            for uid in uids:
                self._wake(uid)

    def _unwatch(self, uid: str) -> None:
        path = self._paths.pop(uid, None)
        if path is None:
            return
        folder, name = os.path.split(path)
        names = self._uids[folder]
        names[name] = tuple(other for other in names[name] if other != uid)
        if not names[name]:
            del names[name]
        if not names:
            del self._uids[folder]
            self._drop_folder(folder)

    def _drop_folder(self, folder: str) -> None:
        watch = self._folders.pop(folder, None)
        if watch is not None and self._inotify is not None:
            try:
                self._inotify.rm_watch(watch)
            except OSError as error:
                if error.errno != errno.EINVAL:  # the kernel dropped it with the folder
                    raise

    def _say(self, error: OSError) -> None:
        if not self._is_exhausted:
            self._is_exhausted = True
            _log.warning(
                "inotify is exhausted",
                reason=error.strerror,
                remedy="changes are seen by the poll; raise fs.inotify.max_user_watches and max_user_instances",
            )
