# SPDX-License-Identifier: ISC
"""
group.py - a place for a server's processes: a cgroup that counts their CPU and a cpuset that keeps them on their CPUs.

A cgroup counts what has ended, too, and an io_uring's workers; a cpuset holds those workers (they ignore the affinity
that taskset sets). Without the right to make either, the CPU clocks of the process tree and the affinity are used, and
`notes` says so.
"""
import contextlib
import os
import pathlib
import resource
import signal
import time

TICKS_S = os.sysconf("SC_CLK_TCK")
PERIOD_US = 5000


def mounts():
    """(version 1 controller -> folder, folder of version 2 or None)"""
    controllers, unified = {}, None
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options = line.split()[:4]
        if kind == "cgroup":
            controllers.update(dict.fromkeys(options.split(","), folder))
        elif kind == "cgroup2":
            unified = folder
    return controllers, unified


def own_group(controller):
    """Our own place below a hierarchy's mount; version 2 is the controller ""."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""


def clock_ns(pid):
    """CPU time of a process, threads that have ended included; 0 when it is gone."""
    # clock_getcpuclockid(3): the pid's complement and CPUCLOCK_SCHED.
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns((~pid << 3) | 2)
    return 0


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def tree(roots):
    """The pids of processes and all that descends from them."""
    pids = list(roots)
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            pids += [int(child) for child in read(task / "children").split() if int(child) not in pids]
    return pids


def tree_ns(roots):
    """CPU of a tree; what has ended counts in ticks, as soon as its parent has waited for it."""
    total = 0
    for pid in tree(roots):
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 15:
            total += clock_ns(pid) + (int(fields[13]) + int(fields[14])) * 1_000_000_000 // TICKS_S
    return total


def memory_bytes(roots):
    """Memory of a tree in user space: proportional set size, so that shared pages count once."""
    total = 0
    for pid in tree(roots):
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def stray_threads(roots, cpus):
    """How many threads of a tree may run elsewhere than on those CPUs."""
    count = 0
    for pid in tree(roots):
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                count += not os.sched_getaffinity(int(task.name)) <= set(cpus)
    return count


class Group:
    """Processes started with enter() as preexec_fn, and what they start, belong to it. remove() ends what is left."""

    def __init__(self, name, cpus):
        self.cpus = set(cpus)
        self.notes = []
        self.folders = []
        self.cpu_folder = None
        controllers, unified = mounts()
        leaf = f"postern-bench-{name}-{os.getpid()}"
        if "cpuacct" in controllers:
            self.cpu_folder = self._make(controllers["cpuacct"], "cpuacct", leaf, "cpuacct.usage")
        elif unified:
            self.cpu_folder = self._make(unified, "", leaf, "cpu.stat")
        cpuset = self.cpu_folder
        if "cpuset" in controllers:
            cpuset = self._make(controllers["cpuset"], "cpuset", leaf, "cpuset.mems")
        self.has_cpuset = bool(cpuset) and self._confine(cpuset)
        if not self.cpu_folder:
            self.notes.append("no cgroup can be made here: server CPU is that of the process tree's clocks")
        if not self.has_cpuset:
            self.notes.append("no cpuset can be made here: io_uring's workers may run on other CPUs")

    def slow_down(self, share):
        """Gives all of it that share of one CPU, in periods too short to stand out in a latency; False: not here."""
        controllers, unified = mounts()
        quota = int(share * PERIOD_US)
        try:
            if "cpu" in controllers:
                leaf = f"{self.folders[0].name}" if self.folders else f"postern-bench-{os.getpid()}"
                running = self.members()
                folder = self._make(controllers["cpu"], "cpu", leaf, "cpu.cfs_quota_us")
                (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (folder / "cpu.cfs_quota_us").write_text(str(quota))
                for pid in running:
                    (folder / "cgroup.procs").write_text(str(pid))
            elif unified and self.cpu_folder:
                (self.cpu_folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            else:
                return False
        except (OSError, TypeError):
            return False
        return True

    def _make(self, mount, controller, leaf, wanted):
        folder = pathlib.Path(mount) / own_group(controller) / leaf
        try:
            folder.mkdir()
        except OSError:
            return None
        self.folders.append(folder)
        return folder if (folder / wanted).exists() else None

    def _confine(self, folder):
        try:
            mems = read(folder.parent / "cpuset.mems").strip()
            if mems and (folder / "cpuset.cpu_exclusive").exists():  # version 1 inherits nothing
                (folder / "cpuset.mems").write_text(mems)
            (folder / "cpuset.cpus").write_text(",".join(map(str, sorted(self.cpus))))
        except OSError:
            if folder != self.cpu_folder:
                self.folders.remove(folder)
                folder.rmdir()
            return False
        return True

    def enter(self):
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        os.sched_setaffinity(0, self.cpus)

    @property
    def path(self):
        return str(self.cpu_folder) if self.cpu_folder else None

    def cpu_ns(self, roots):
        if not self.cpu_folder:
            return tree_ns(roots)
        for line in read(self.cpu_folder / "cpu.stat").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) * 1000
        return int(read(self.cpu_folder / "cpuacct.usage") or 0)

    def members(self):
        return [int(pid) for folder in self.folders for pid in read(folder / "cgroup.procs").split()]

    def remove(self):
        end = time.monotonic() + 30
        patience = time.monotonic() + 5
        while self.members() and time.monotonic() < end:
            if time.monotonic() > patience:
                for pid in self.members():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folders = []


class Window:
    """What everything used from the making of it to close(), in us of CPU; `rest` is what nobody of ours explains."""

    def __init__(self, group, roots, sink_pid):
        self.parts = lambda: (group.cpu_ns(roots), clock_ns(sink_pid), own_ns(), busy_ns())
        self.before = self.parts()

    def close(self):
        server, sink, own, busy = (after - before for before, after in zip(self.before, self.parts()))
        return {"server_us": server / 1000, "sink_us": sink / 1000, "client_us": own / 1000, "machine_us": busy / 1000,
                "rest_us": (busy - server - sink - own) / 1000}


def own_ns():
    """Of this program and the clients that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return int(sum(u.ru_utime + u.ru_stime for u in used) * 1e9)


def busy_ns():
    """Of the whole machine, in ticks: user, nice, system, irq, softirq."""
    v = [int(n) for n in read("/proc/stat").split("\n", 1)[0].split()[1:]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) * 1_000_000_000 // TICKS_S
