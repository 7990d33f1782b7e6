"""A private SLURM on one machine: two nodes with make-believe GPUs, for tests, gone without a trace afterwards.

    with Cluster(folder) as cluster:
        subprocess.run(["sinfo"])

It needs root and Debian's packages slurm-wlm and munge, and starts munged, slurmctld and two slurmd by hand: no systemd, no
cgroups. Where slurmdbd and mariadb-server-core are there, too, it keeps accounts in a database of its own. SLURM finds its
configuration in /etc/slurm/slurm.conf and nowhere else (jobs lose the variable that could name another place), so a machine that
has such a file already is left alone.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CONFIGURATION = Path("/etc/slurm/slurm.conf")
GRES = Path("/etc/slurm/gres.conf")
DATABASE = Path("/etc/slurm/slurmdbd.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
PROGRAMS_OF_ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "sacct", "sacctmgr")
ACCOUNT, DEFAULT_ACCOUNT = "voices", "everybody"  # that root may charge
SECONDS_TO_START = 60
CPUS, MEMORY_MB, GPUS = 4, 64000, 2  # of each node, as promised to SLURM; the machine may have less

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that goes back to the queue starts again when its credential has expired, elsewhere after two minutes: it must have ended by then.
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
MinJobAge=300
KillWait=5
JobRequeue=1
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes} CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=work Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=9
"""

NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations"""
SLURMDBD_CONF = """
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=slurm
StoragePass={word}
StorageLoc=accounts
"""
FIRST_STATEMENTS = """CREATE DATABASE accounts;
CREATE USER 'slurm'@'%' IDENTIFIED BY '{word}';
GRANT ALL ON *.* TO 'slurm'@'%';
"""


class Job(NamedTuple):
    """One line of SLURM's own record."""

    identity: str
    state: str
    partition: str
    minutes: str
    resources: dict[str, str]  # cpu, mem, gres/gpu …


def why_not() -> str:
    """Why no cluster can be started here; empty where it can."""
    missing = missing_of(PROGRAMS)
    if missing:
        return f"no {', '.join(missing)} on this machine: apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a private SLURM needs root"
    return f"{CONFIGURATION} exists: this machine has a SLURM of its own" if CONFIGURATION.exists() else ""


def missing_of(programs: tuple[str, ...]) -> list[str]:
    """Those of `programs` that this machine lacks."""
    return [program for program in programs if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]


class Cluster:
    """Started by `with`, stopped at its end; only processes that it started itself are stopped.

    Attributes:
        accounting: whether it keeps accounts, and knows past jobs (`sacct`).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.accounting = not missing_of(PROGRAMS_OF_ACCOUNTING)
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        # Daemons write where other users could reach: a folder that only root may enter.
        self.folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        (self.folder / "state").mkdir()
        port, first, second, accounts, storage = free_ports(5)
        places = {"host": socket.gethostname(), "folder": self.folder, "port": port, "nodes": f"{first},{second}"}
        accounting = ACCOUNTING.format(port=accounts, folder=self.folder) if self.accounting else NO_ACCOUNTING
        text = SLURM_CONF.format(**places, accounting=accounting, cpus=CPUS, memory=MEMORY_MB, gpus=GPUS)
        try:
            CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
            CONFIGURATION.write_text(text)
            GRES.write_text("\n".join(f"NodeName=n[1-2] Name=gpu File={self._gpu(number)}" for number in range(GPUS)) + "\n")
            self._start_munge()
            if self.accounting:
                self._start_accounting(accounts, storage)
            self._start("slurmctld", "-D", "-c")
            for node in ("n1", "n2"):
                self.start_node(node)
            wait_for(lambda: self._sinfo().split() == ["idle", "idle"], "both nodes to be idle", self._logs)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        for file in (CONFIGURATION, GRES, DATABASE):
            file.unlink(missing_ok=True)

    def start_node(self, node: str) -> subprocess.Popen:
        """Start the daemon of `n1` or `n2`."""
        return self._start("slurmd", "-D", "-N", node)

    def jobs(self) -> list[Job]:
        """The finished jobs, from the file that SLURM itself writes."""
        path = self.folder / "jobs.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [_job(dict(field.split("=", 1) for field in line.split(" ") if "=" in field)) for line in lines]

    def _gpu(self, number: int) -> Path:
        """A character device that stands for a GPU."""
        path = self.folder / f"gpu{number}"
        subprocess.run(["mknod", str(path), "c", "1", "3"], check=True)
        return path

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = [f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", f"--key-file={key}", *places)
        wait_for(lambda: (self.folder / "munge.socket").exists(), "munge", self._logs)

    def _start_accounting(self, port: int, storage: int) -> None:
        """A database, SLURM's daemon before it, and two accounts."""
        word, data = secrets.token_hex(16), self.folder / "database"
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
        subprocess.run(install, check=True, capture_output=True)
        (self.folder / "first.sql").write_text(FIRST_STATEMENTS.format(word=word))
        places = [f"--datadir={data}", f"--socket={self.folder}/database.socket", f"--pid-file={self.folder}/database.pid"]
        network = ["--bind-address=127.0.0.1", f"--port={storage}", "--user=root", f"--init-file={self.folder}/first.sql"]
        self._start("mariadbd", "--no-defaults", *places, *network)
        wait_for(lambda: listens(storage), "the database", self._logs)
        DATABASE.touch(mode=0o600)
        DATABASE.write_text(SLURMDBD_CONF.format(host=socket.gethostname(), folder=self.folder, port=port, storage=storage, word=word))
        self._start("slurmdbd", "-D")
        wait_for(lambda: listens(port), "slurmdbd", self._logs)
        for words in (
            "add cluster test",
            f"add account {DEFAULT_ACCOUNT},{ACCOUNT} Cluster=test",
            f"add user root Account={DEFAULT_ACCOUNT},{ACCOUNT} DefaultAccount={DEFAULT_ACCOUNT}",
        ):
            done = subprocess.run(["sacctmgr", "--immediate", *words.split()], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr + self._logs()

    def _start(self, program: str, *arguments: str) -> subprocess.Popen:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        with open(self.folder / f"{program}.out", "a") as output:
            process = subprocess.Popen([str(path), *arguments], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        return process

    def _sinfo(self) -> str:
        return subprocess.run(["sinfo", "--noheader", "--Node", "--partition=work", "--format=%T"], capture_output=True, text=True).stdout

    def _logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-1500:]}" for path in sorted(self.folder.glob("*.[lo][ou][gt]")))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def listens(port: int) -> bool:
    """Whether somebody does at this port of this machine."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], bool], what: str, logs: Callable[[], str], seconds: float = SECONDS_TO_START) -> None:
    """Until `condition` holds; fails with the logs after a while."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}\n{logs()}")
        time.sleep(0.2)


def _job(fields: dict[str, str]) -> Job:
    resources = dict(part.split("=", 1) for part in fields.get("Tres", "").split(",") if "=" in part)
    return Job(fields["JobId"], fields["JobState"], fields["Partition"], fields["TimeLimit"], resources)
