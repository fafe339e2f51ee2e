/* Pseudo-terminals: termios, line discipline, window size, signals from the keyboard, job control, sessions. */
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static volatile int last;
static void handler(int number) { last = number; }

static void get(const char *what, int fd)
{
    char buf[256];
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 300) == 0) {
        say("%s: nothing", what);
        return;
    }
    errno = 0;
    long n = read(fd, buf, sizeof buf);
    if (n < 0)
        say("%s: %s", what, errname(errno));
    else
        show(what, buf, n);
}

int main(void)
{
    int master, slave, value;
    char name[64], buf[64];
    struct termios t;
    struct winsize size;
    pid_t pid, pgrp;
    GUARD(60);

    SECTION("opening");
    RES(open("/dev/tty", O_RDWR));
    RES(isatty(0));
    RES(master = posix_openpt(O_RDWR | O_NOCTTY));
    RES(ptsname_r(master, name, sizeof name));
    IS(!strncmp(name, "/dev/pts/", 9));
    RES(open(name, O_RDWR | O_NOCTTY));
    RES(grantpt(master));
    RES(unlockpt(master));
    RES(slave = open(name, O_RDWR | O_NOCTTY));
    RES(isatty(master));
    RES(isatty(slave));
    IS(!strcmp(ttyname(slave), name));
    struct stat st;
    RES(fstat(slave, &st));
    OCT(st.st_mode & S_IFMT);
    NUM(st.st_rdev >> 8);
    RES(lseek(slave, 0, SEEK_SET));
    RES(pread(slave, buf, 1, 0));

    SECTION("termios");
    RES(tcgetattr(slave, &t));
    HEX(t.c_iflag);
    HEX(t.c_oflag);
    HEX(t.c_cflag);
    HEX(t.c_lflag);
    NUM(t.c_cc[VINTR]);
    NUM(t.c_cc[VEOF]);
    NUM(t.c_cc[VERASE]);
    NUM(t.c_cc[VKILL]);
    NUM(t.c_cc[VSUSP]);
    NUM(t.c_cc[VMIN]);
    NUM(cfgetospeed(&t));
    RES(tcgetattr(0, &t));
    RES(ioctl(slave, TIOCGWINSZ, &size));
    NUM(size.ws_row);
    size = (struct winsize){24, 80, 0, 0};
    RES(ioctl(master, TIOCSWINSZ, &size));
    memset(&size, 0, sizeof size);
    RES(ioctl(slave, TIOCGWINSZ, &size));
    NUM(size.ws_row);
    NUM(size.ws_col);

    SECTION("canonical input and echo");
    write(master, "hello\n", 6);
    get("slave", slave);
    get("echo", master);
    write(master, "abx\177c\n", 6);
    get("erased", slave);
    get("echo", master);
    write(master, "gone\025kept\n", 10);
    get("killed line", slave);
    get("echo", master);
    write(master, "partial", 7);
    get("no line yet", slave);
    write(master, "\004", 1);
    get("EOF ends it", slave);
    get("echo", master);
    write(master, "\004", 1);
    get("EOF alone", slave);
    write(master, "cr\r", 3);
    get("CR becomes NL", slave);
    get("echo", master);
    write(master, "one\ntwo\n", 8);
    RES(ioctl(slave, FIONREAD, &value));
    RES(read(slave, buf, 2));
    RES(read(slave, buf, 60));
    RES(read(slave, buf, 60));
    get("echo", master);
    write(slave, "out\n", 4);
    get("output", master);

    SECTION("raw");
    tcgetattr(slave, &t);
    cfmakeraw(&t);
    RES(tcsetattr(slave, TCSANOW, &t));
    write(master, "a\003\004\r\177", 5);
    get("slave", slave);
    get("no echo", master);
    write(slave, "x\ny", 3);
    get("output", master);
    t.c_cc[VMIN] = 0;
    t.c_cc[VTIME] = 0;
    tcsetattr(slave, TCSANOW, &t);
    RES(read(slave, buf, 10));
    t.c_cc[VMIN] = 3;
    tcsetattr(slave, TCSANOW, &t);
    write(master, "12", 2);
    get("poll waits for VMIN", slave);
    write(master, "3", 1);
    get("now", slave);
    RES(fcntl(slave, F_SETFL, O_NONBLOCK));
    RES(read(slave, buf, 10));
    RES(fcntl(slave, F_SETFL, 0));
    write(master, "flushed", 7);
    RES(tcflush(slave, TCIFLUSH));
    get("flushed", slave);
    RES(tcdrain(slave));
    RES(tcsendbreak(slave, 0));

    SECTION("controlling terminal and signals");
    pid = fork();
    if (pid == 0) {
        setsid();
        RES(ioctl(slave, TIOCSCTTY, 0));
        RES(open("/dev/tty", O_RDWR) >= 0);
        IS(tcgetpgrp(slave) == getpgrp());
        IS(tcgetsid(slave) == getsid(0));
        tcgetattr(slave, &t);
        t.c_lflag |= ISIG | ICANON | ECHO;
        t.c_cc[VMIN] = 1;
        tcsetattr(slave, TCSANOW, &t);
        int signals[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT};
        for (int i = 0; i < 6; i++)
            signal(signals[i], handler);
        const char *keys[] = {"\003", "\034", "\032"};
        for (int i = 0; i < 3; i++) {
            last = 0;
            write(master, keys[i], 1);
            for (int wait = 0; wait < 300 && !last; wait++)
                sleep_ms(1);
            say("key %d: %s", i, signame(last));
        }
        last = 0;
        size.ws_row = 50;
        ioctl(master, TIOCSWINSZ, &size);
        say("window: %s", signame(last));
        last = 0;
        ioctl(master, TIOCSWINSZ, &size);
        say("same size: %d", last);
        _exit(0);
    }
    reap("session with a terminal", pid);
    tcflush(master, TCIOFLUSH);
    RES(tcgetpgrp(slave));

    SECTION("background groups");
    int copy_master, copy_slave;
    RES(openpty(&copy_master, &copy_slave, NULL, NULL, NULL));
    pid = fork();
    if (pid == 0) {
        int status;
        setsid();
        ioctl(copy_slave, TIOCSCTTY, 0);
        pid_t job = fork();
        if (job == 0) {
            setpgid(0, 0);
            read(copy_slave, buf, 1);
            _exit(buf[0]);
        }
        setpgid(job, job);
        waitpid(job, &status, WUNTRACED);
        show_status("read in the background", status);
        signal(SIGTTOU, SIG_IGN);
        RES(tcsetpgrp(copy_slave, job));
        IS(tcgetpgrp(copy_slave) == job);
        kill(job, SIGCONT);
        write(copy_master, "!\n", 2);
        reap("in the foreground", job);
        RES(tcsetpgrp(copy_slave, getpgrp()));
        RES(tcsetpgrp(copy_slave, 99999));
        job = fork();
        if (job == 0) {
            setpgid(0, 0);
            signal(SIGTTIN, SIG_IGN);
            _exit(read(copy_slave, buf, 1) < 0 && errno == EIO ? 11 : 12);
        }
        reap("TTIN ignored", job);
        job = fork();
        if (job == 0) {
            setpgid(0, 0);
            signal(SIGTTOU, SIG_DFL);
            struct termios mine;
            tcgetattr(copy_slave, &mine);
            tcsetattr(copy_slave, TCSANOW, &mine);
            _exit(1);
        }
        waitpid(job, &status, WUNTRACED);
        show_status("tcsetattr in the background", status);
        kill(job, SIGKILL);
        reap("killed", job);
        _exit(0);
    }
    reap("shell", pid);

    SECTION("hang-up");
    pid = fork();
    if (pid == 0) {
        close(copy_master);
        setsid();
        openpty(&copy_master, &copy_slave, NULL, NULL, NULL);
        ioctl(copy_slave, TIOCSCTTY, 0);
        signal(SIGHUP, handler);
        last = 0;
        close(copy_master);
        for (int wait = 0; wait < 300 && !last; wait++)
            sleep_ms(1);
        say("master closed: %s", signame(last));
        RES(read(copy_slave, buf, 1));
        RES(write(copy_slave, buf, 1));
        _exit(0);
    }
    reap("leader", pid);
    close(slave);
    struct pollfd p = {master, POLLIN, 0};
    RES(poll(&p, 1, 100));
    HEX(p.revents);
    RES(read(master, buf, 1));
    slave = open(name, O_RDWR | O_NOCTTY);
    write(slave, "again", 5);
    get("slave opened again", master);
    close(master);
    RES(write(slave, "x", 1));
    RES(open(name, O_RDWR | O_NOCTTY));
    (void)pgrp;
    return 0;
}
