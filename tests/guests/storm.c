/* storm: processes whose threads fork, vfork, exec, end, signal and stop themselves and are killed meanwhile, at
 * random but the same points. Nothing may hang, and nothing but the last lines is printed. */
#include "check.h"

#define PROCESSES 60

static char *self;
static __thread unsigned seed;

static int chance(int n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

static void on_signal(int signo)
{
}

static void *body(void *arg);

static void step(void)
{
    pid_t pid;
    pthread_t thread;
    switch (chance(9)) {
    case 0:
        pid = fork();
        if (pid == 0)
            _exit(0);
        if (chance(2))
            waitpid(pid, NULL, 0);
        break;
    case 1:
        pid = vfork();
        if (pid == 0) {
            if (seed & 1)
                execl(self, self, "end", NULL);
            _exit(1);
        }
        waitpid(pid, NULL, 0);
        break;
    case 2:
        usleep(chance(2000));
        break;
    case 3:
        if (chance(10) == 0)
            pthread_exit(NULL);
        break;
    case 4:
        if (chance(20) == 0)
            execl(self, self, "end", NULL);
        break;
    case 5:
        if (chance(30) == 0)
            _exit(0);
        break;
    case 6:
        kill(getpid(), SIGUSR1);
        break;
    case 7:
        if (chance(3) == 0 && pthread_create(&thread, NULL, body, (void *)(long)chance(10000)) == 0)
            pthread_detach(thread);
        break;
    case 8:
        if (chance(30) == 0)
            kill(getpid(), SIGSTOP);
    }
}

static void *body(void *arg)
{
    seed = (long)arg;
    for (int i = 0; i < 20; i++)
        step();
    return NULL;
}

static void process(int number)
{
    pthread_t threads[4];
    setpgid(0, 0);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, body, (void *)(long)(number * 7 + i));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

/* 1 if the process ended within some seconds; a stopped one is continued. */
static int ends(pid_t pid)
{
    int status;
    for (int i = 0; i < 20000; i++) {
        if (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
            if (!WIFSTOPPED(status))
                return 1;
            kill(pid, SIGCONT);
        }
        usleep(1000);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int ended = 0;
    if (argc > 1)
        return 0;
    self = argv[0];
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
    seed = 42;
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();
        if (pid == 0)
            process(i);
        setpgid(pid, pid);
        if (i % 4 == 0)
            usleep(chance(20000));
        if (i % 3 == 0)
            kill(-pid, SIGKILL);
        ended += ends(pid);
    }
    NUM(ended);
    return 0;
}
