"""What `stockade help TOPIC` prints for topics that are no commands."""

PLATFORMS = """\
A platform carries the threads of the programs: it catches their system calls and runs their code. --platform NAME.

  systrap    (the default) The programs run in processes of their own under a seccomp filter; a system call is a signal to
             a small stub in the process, which hands it to the Sentry through shared memory. Call sites that are used
             often are rewritten and then enter the stub directly (--no-patching leaves them alone). The fastest.
  ptrace     The Sentry traces the programs with ptrace(2). Several times slower for each call, but needs neither
             seccomp notification nor rewriting: for hosts whose kernel or container runtime refuses those.

Both need Linux 5.19 or newer on x86-64, no hardware virtualisation, and work with and without root. Programs cannot
tell them apart but by time."""

FLAGS = """\
Global flags stand before the command: stockade [FLAGS] COMMAND. They come from, the first that says something wins:

  the command line    --flag VALUE, --flag=VALUE, --switch, --switch=false
  a TOML file         --config FILE, else {path} if it exists; keys are the flags' names:
                          platform = "systrap"
                          overlay2 = "none"
                          debug_log = "/var/log/stockade/%ID%.%COMMAND%.log"
  their defaults

An annotation dev.stockade.flag.NAME of a configuration sets a flag for that container. Without --allow-flag-override these
values are taken:

{annotations}

flags:
{flags}"""


def text(topic, options) -> "str | None":
    """The text of a topic, or None."""
    if topic == "platforms":
        return PLATFORMS
    if topic != "flags":
        return None
    from sandbox import args, flags

    rows = "\n".join(f"  {key.replace('_', '-'):<14} {', '.join(values)}" for key, values in sorted(flags.ANNOTATIONS.items()))
    return FLAGS.format(path=flags.PATH, annotations=rows, flags=args.describe(options))
