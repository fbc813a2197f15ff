"""What the machine refuses, in one line: a full disk, a place that cannot be written, too little memory."""

import errno
import os
import re

MENDS = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some of your quota, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose another place, or change its permissions",
    errno.EPERM: "choose another place, or change its permissions",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the limit on open files (ulimit -n)",
    errno.EAGAIN: "end other programs, or raise the limit on processes (ulimit -u)",
    errno.EIO: "look whether the disk is full or broken",
    errno.ESTALE: "the file has gone from its server: mount it again",
    errno.ENOENT: "make its folder first, or choose another place",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another place",
}
OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how Rust (safetensors) ends such an error
THREADS = re.compile(r"can't start new thread|pthread_create failed")  # Python's words and onnxruntime's
TORCH_MEMORY = re.compile(r"not enough memory|can't allocate memory|out of memory|bad_alloc|bad allocation", re.I)


def fault_line(error: BaseException) -> str | None:
    """What the machine refused and how to mend it, without a full stop; `None` where `error` is no such thing."""
    if isinstance(error, OSError):
        return _of_system(error.errno, error.strerror or str(error), error.filename)
    if is_out_of_memory(error):
        return "there is not enough memory: end other programs, or ask for less at once"
    if isinstance(error, RuntimeError) and THREADS.search(str(error)):
        return f"no more threads can be started; {MENDS[errno.EAGAIN]}"
    if type(error).__name__ == "SafetensorError" and (found := OS_ERROR.search(str(error))):
        number = int(found[1])
        return _of_system(number, os.strerror(number), None)
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory, of the machine or of its GPU, ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and TORCH_MEMORY.search(str(error)) is not None


def _of_system(number: int | None, reason: str, file: object) -> str:
    where = f"{os.fsdecode(file)}: " if isinstance(file, str | bytes) else ""
    words, mend = " ".join(reason.split()), MENDS.get(number or 0)
    return f"{where}{words[:1].lower()}{words[1:]}" + (f"; {mend}" if mend else "")
