"""A disk as it would be after a cut of power. `strace` records what a daemon and its children do below a folder; `Disk` plays it back
up to any moment and knows, of every file and folder, what was written and what of it was synced.

Two extremes are rebuilt: all that was written is there, or only what an fsync had returned for. The second is the strictest reading
of POSIX: bytes of a file need an fsync of the file, its name one of the folder."""
import os
import pathlib
import re

CALLS = ("open,openat,openat2,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,fallocate,copy_file_range,sendfile,ioctl,rename,renameat,"
         "lseek,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,msync,fchmod,chmod")
LINE = re.compile(r"(\d+\.\d+) (\w+)\((.*)\)\s+= (-?\d+|\?)(?:<[^>]*>)?.*<(\d+\.\d+)>$")
OPENED = re.compile(r" = (\d+)<((?:\\x[0-9a-f]{2})*)>")
BY_DESCRIPTOR = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
# An index of the log, mapped, rebuilt by whoever opens the store; space that is taken to be given back.
UNSEEN = ("hone.db-shm", "ballast")


def command(trace, words):
    return ["strace", "-ff", "-ttt", "-T", "-y", "-xx", "-s", "1000000000", "--seccomp-bpf", "-e", "trace=" + CALLS, "-e", "signal=none",
            "-o", str(trace), *words]


def text(hexed):
    return bytes.fromhex(hexed.replace("\\x", ""))


def split(arguments):
    """The arguments of a call; none of them holds a comma or a bracket once its text is in hexadecimal."""
    return [a.strip() for a in arguments.split(",")]


def path_of(argument):
    """The path in `12<…>` or `"…"`."""
    found = re.search(r'[<"]((?:\\x[0-9a-f]{2})*)[>"]', argument)
    return text(found[1]).decode(errors="replace") if found else ""


def named(arguments):
    """Paths that a call names by text, those beside a folder's descriptor made whole."""
    whole = []
    for i, argument in enumerate(arguments):
        if argument.startswith('"'):
            whole.append(os.path.join(path_of(arguments[i - 1]) if i and "<" in arguments[i - 1] else "/", path_of(argument)))
    return whole


def resolve(line, opened):
    """A link made of an open file, `/proc/self/fd/12`, with the path that was opened; a thread links what it has opened itself."""
    def path(found):
        name = text(found[1]).decode(errors="replace")
        return f'"{opened[name[14:]]}"' if name.startswith("/proc/self/fd/") and name[14:] in opened else found[0]
    return BY_DESCRIPTOR.sub(path, line)


class Node:
    def __init__(self, folder):
        self.folder = folder
        self.live = {} if folder else bytearray()
        self.synced = {} if folder else b""

    def capture(self):
        return dict(self.live) if self.folder else bytes(self.live)


def read(trace, root):
    """[(time, what, call, arguments)] of successful calls below `root`, in the order in which they returned; a sync counts for what had
    been done when it was called."""
    mark = "".join(f"\\x{b:02x}" for b in str(root).encode())
    found = []
    for file in pathlib.Path(trace).parent.glob(pathlib.Path(trace).name + ".*"):
        opened = {}
        with open(file) as lines:
            for line in lines:
                if " open" in line and (of := OPENED.search(line)):
                    opened[of[1]] = of[2]
                if " linkat(" in line:
                    line = resolve(line, opened)
                if mark not in line or not (m := LINE.match(line.rstrip("\n"))) or m[4].startswith("-") or m[4] == "?":
                    continue
                begun, call, arguments, ended = float(m[1]), m[2], split(m[3]), float(m[1]) + float(m[5])
                if call in ("fsync", "fdatasync"):
                    found.append((begun, "begin", call, arguments, (file.name, begun)))
                if call == "lseek":
                    arguments = [arguments[0], m[4]]
                found.append((ended, "end", call, arguments, (file.name, begun)))
    return sorted(found, key=lambda f: f[0])


class Disk:
    """The folder `root`, empty at first, as `play` leaves it."""

    def __init__(self, root):
        self.root, self.tree, self.pending = str(root), Node(True), {}
        self.places = {}  # (thread, path): where it writes next, if not at the end

    def find(self, path):
        node = self.tree
        for part in pathlib.PurePath(path).relative_to(self.root).parts:
            if node is None or not node.folder:
                return None
            node = node.live.get(part)
        return node

    def parent(self, path):
        return self.find(os.path.dirname(path)), os.path.basename(path)

    def inside(self, path):
        return path == self.root or path.startswith(self.root + "/")

    def put(self, path, node):
        folder, name = self.parent(path)
        folder.live[name] = node

    def drop(self, path):
        folder, name = self.parent(path)
        folder.live.pop(name, None)

    def bytes_of(self, path):
        node = self.find(path) if self.inside(path) else None
        return bytes(node.live) if node else pathlib.Path(path).read_bytes()

    def play(self, event):
        """Does one event; True when it changed what a cut would leave."""
        _, what, call, arguments, key = event
        paths = [path_of(a) for a in arguments if "<" in a]
        names = [] if "write" in call else named(arguments)
        if call in ("fsync", "fdatasync"):
            node = self.find(paths[0]) if self.inside(paths[0]) else None
            if node is None:
                return False
            if what == "begin":
                self.pending[key] = node.capture()
                return False
            changed = node.synced != self.pending[key]
            node.synced = self.pending.pop(key)
            return changed
        if call == "lseek":
            self.places[key[0], paths[0]] = int(arguments[1])
            return False
        if "open" in call and names:
            self.places.pop((key[0], names[0]), None)
        if call == "write" and (key[0], paths[0]) in self.places:
            at, size = self.places[key[0], paths[0]], len(text(re.search(r'"(.*)"', arguments[1])[1]))
            self.places[key[0], paths[0]] = at + size
            return self.do_pwrite64([*arguments, str(at)], paths, names) is not False
        act = getattr(self, "do_" + call, None)
        return act(arguments, paths, names) is not False if act else False

    def do_openat(self, arguments, paths, names):
        path = names[0]
        if not self.inside(path) or "O_TMPFILE" in arguments[2]:
            return False
        node = self.find(path)
        if node is None:
            if "O_CREAT" not in arguments[2]:
                return False
            self.put(path, Node(False))
        elif "O_TRUNC" in arguments[2] and not node.folder:
            node.live.clear()
        else:
            return False

    def do_write(self, arguments, paths, names):
        """At the end; `same` would find a file for which that is wrong."""
        node = self.find(paths[0]) if self.inside(paths[0]) else None
        if node is None:
            return False
        node.live += text(re.search(r'"(.*)"', arguments[1])[1])

    def do_pwrite64(self, arguments, paths, names):
        node = self.find(paths[0]) if self.inside(paths[0]) else None
        if node is None or paths[0].endswith(UNSEEN):
            return False
        data, at = text(re.search(r'"(.*)"', arguments[1])[1]), int(arguments[3])
        if len(node.live) < at + len(data):
            node.live += bytes(at + len(data) - len(node.live))
        node.live[at:at + len(data)] = data

    def do_ftruncate(self, arguments, paths, names):
        node = self.find(paths[0]) if self.inside(paths[0]) else None
        if node is None or paths[0].endswith(UNSEEN):
            return False
        size = int(arguments[1])
        del node.live[size:]
        node.live += bytes(size - len(node.live))

    def do_copy_file_range(self, arguments, paths, names):
        node = self.find(paths[1])
        node.live[:] = self.bytes_of(paths[0])

    def do_ioctl(self, arguments, paths, names):
        if "CLONE" not in arguments[1] or not self.inside(paths[0]):
            return False
        self.find(paths[0]).live[:] = self.bytes_of(paths[1])

    def do_mkdir(self, arguments, paths, names):
        if names[0] == self.root:
            return False
        self.put(names[0], Node(True))

    def do_rename(self, arguments, paths, names):
        node = self.find(names[0])
        self.drop(names[0])
        self.put(names[1], node)

    def do_link(self, arguments, paths, names):
        node = self.find(names[0]) if self.inside(names[0]) else None
        if node is None:  # of a file from elsewhere, which is as safe as its owner made it
            node = Node(False)
            node.live[:] = node.synced = pathlib.Path(names[0]).read_bytes()
        self.put(names[1], node)

    def do_unlink(self, arguments, paths, names):
        if self.inside(names[0]):
            self.drop(names[0])

    do_renameat = do_renameat2 = do_rename
    do_linkat, do_mkdirat, do_unlinkat, do_rmdir, do_open = do_link, do_mkdir, do_unlink, do_unlink, do_openat
    do_openat2 = do_openat

    def rebuild(self, target, only_synced, keep=None):
        """Writes the folder as it would be found; a file of `keep` with the same bytes is linked, so that it is the same inode."""
        def write(node, path):
            content = node.synced if only_synced else node.live
            if node.folder:
                path.mkdir(exist_ok=True, mode=0o700)
                for name, child in content.items():
                    write(child, path / name)
            elif path.name not in UNSEEN:
                original = keep / path.relative_to(target) if keep else None
                if original and original.is_file() and original.read_bytes() == content:
                    os.link(original, path)
                else:
                    path.write_bytes(content)
        write(self.tree, pathlib.Path(target))

    def same(self, folder):
        """Paths where what was played differs from what is there: none, if the record is whole."""
        different = []

        def look(node, path):
            if node.folder:
                there = {p.name for p in path.iterdir()} if path.is_dir() else set()
                different.extend(str(path / n) for n in there ^ set(node.live) if n not in UNSEEN)
                for name in there & set(node.live):
                    look(node.live[name], path / name)
            elif path.name not in UNSEEN and path.read_bytes() != bytes(node.live):
                different.append(str(path))
        look(self.tree, pathlib.Path(folder))
        return different
