"""stockade features (OCI runtime-spec, features.md)"""

from sandbox import OCI_VERSION, VERSION, oci
from sandbox.errors import CliError
from sentry.core import jsonlite

USAGE = ""
ABOUT = "Prints what this runtime supports, as the OCI runtime specification's features structure."
OPTIONS = []
INTERSPERSED = True

MOUNT_OPTIONS = (
    "acl async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand mode noacl noatime nodev nodiratime "
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid private ratime rbind rdev rdiratime relatime rexec ridmap "
    "rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid ro rprivate rrelatime rro rrw rshared rslave rstrictatime "
    "rsuid runbindable rw shared silent size slave strictatime suid symfollow sync tmpcopyup unbindable"
).split()


def run(settings, values, arguments) -> int:
    if arguments:
        raise CliError(f"features takes no arguments, {arguments[0]!r} was given")
    print(jsonlite.pretty(features()))
    return 0


def features() -> dict:
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(oci.HOOKS),
        "mountOptions": MOUNT_OPTIONS,
        "linux": {
            "namespaces": ["ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": ["CAP_" + name for name in oci.CAPABILITIES],
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": list(oci.SECCOMP_ACTIONS),
                "operators": list(oci.SECCOMP_OPERATORS),
                "archs": ["SCMP_ARCH_X86_64"],
                "knownFlags": list(oci.SECCOMP_FLAGS),
                "supportedFlags": list(oci.SECCOMP_FLAGS),
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"dev.stockade.version": VERSION, "dev.stockade.platforms": "systrap,ptrace"},
        "potentiallyUnsafeConfigAnnotations": [],
    }
