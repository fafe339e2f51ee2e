"""stockade create"""

from sandbox.commands import common

USAGE = "[FLAGS] ID"
ABOUT = "Creates the container ID from an OCI bundle. Its program does not run before `stockade start ID`."
OPTIONS = [common.BUNDLE, common.CONFIG, common.CONSOLE_SOCKET, common.PID_FILE, common.PRESERVE_FDS, common.PASS_FD, *common.IGNORED]
INTERSPERSED = True


def run(settings, values, arguments) -> int:
    cid = common.one_id(values, arguments, "create")
    bundle, spec = common.bundle_of(values)
    sandbox = common.create(settings, values, cid, bundle, spec, False)
    sandbox.container.close()
    sandbox.release()
    return 0
