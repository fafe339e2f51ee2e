/* exec: arguments, environment, auxiliary vector, #!, errors, what survives and what does not. */
#include "check.h"
#include <sys/auxv.h>
#include <sys/prctl.h>

static char *self;
static char *empty[] = {NULL};
static void handler(int number) { (void)number; }

/* What the program says when it is run again as a child: exec mode … */
static int again(int argc, char **argv, char **envp)
{
    const char *mode = argv[1];
    if (!strcmp(mode, "args")) {
        NUM(argc);
        for (int i = 1; i < argc; i++)
            SHOW(argv[i], strlen(argv[i]));
        for (int i = 0; envp[i]; i++)
            SHOW(envp[i], strlen(envp[i]));
        IS(argv[argc] == NULL);
    } else if (!strcmp(mode, "auxv")) {
        NUM(getauxval(AT_PAGESZ));
        NUM(getauxval(AT_CLKTCK));
        NUM(getauxval(AT_UID));
        NUM(getauxval(AT_EUID));
        NUM(getauxval(AT_SECURE));
        NUM(getauxval(AT_FLAGS));
        NUM(getauxval(AT_PHENT));
        IS(getauxval(AT_PHNUM) > 3);
        IS(getauxval(AT_PHDR) != 0);
        IS(getauxval(AT_ENTRY) != 0);
        IS(getauxval(AT_RANDOM) != 0);
        IS(getauxval(AT_BASE) == 0);
        IS(getauxval(AT_HWCAP) != 0);
        SHOW((char *)getauxval(AT_PLATFORM), 6);
        IS(strcmp((char *)getauxval(AT_EXECFN), argv[2]) == 0);
        IS(((long)argv & 7) == 0);
        unsigned char *random = (unsigned char *)getauxval(AT_RANDOM);
        int nonzero = 0;
        for (int i = 0; i < 16; i++)
            nonzero += random[i] != 0;
        IS(nonzero > 8);
    } else if (!strcmp(mode, "state")) {
        struct sigaction action;
        sigset_t set;
        sigaction(SIGUSR1, NULL, &action);
        IS(action.sa_handler == SIG_DFL);
        sigaction(SIGUSR2, NULL, &action);
        IS(action.sa_handler == SIG_IGN);
        sigprocmask(SIG_BLOCK, NULL, &set);
        NUM(sigismember(&set, SIGHUP));
        NUM(sigismember(&set, SIGINT));
        sigpending(&set);
        NUM(sigismember(&set, SIGHUP));
        RES(fcntl(10, F_GETFD));
        RES(fcntl(11, F_GETFD));
        RES(lseek(10, 0, SEEK_CUR));
        OCT(umask(022));
        IS(getpid() == atoi(argv[2]));
        stack_t stack;
        sigaltstack(NULL, &stack);
        NUM(stack.ss_flags);
        struct rlimit limit;
        getrlimit(RLIMIT_NOFILE, &limit);
        NUM(limit.rlim_cur);
        IS(alarm(0) > 100);
        char name[20] = "";
        prctl(PR_GET_NAME, name);
        SHOW(name, strlen(name));
        NUM(prctl(PR_GET_PDEATHSIG, &limit.rlim_cur));
        char cwd[4096];
        IS(getcwd(cwd, sizeof cwd) && !strcmp(cwd + strlen(cwd) - 4, "/sub"));
        IS(getppid() > 0);
        NUM(prctl(PR_GET_DUMPABLE));
    } else if (!strcmp(mode, "count")) {
        NUM(argc);
        long total = 0;
        for (int i = 0; i < argc; i++)
            total += strlen(argv[i]);
        NUM(total - (long)strlen(argv[0]));
    } else if (!strcmp(mode, "exit"))
        return atoi(argv[2]);
    else if (!strcmp(mode, "argv0")) {
        SHOW(argv[0], strlen(argv[0]));
    } else {
        say("mode %s", mode);
    }
    return 0;
}

static void script(const char *path, const char *text, int mode)
{
    put(path, text);
    chmod(path, mode);
}

static void *exec_in_thread(void *argument)
{
    (void)argument;
    execl(self, self, "exit", "33", NULL);
    return NULL;
}

static void *idle(void *argument)
{
    (void)argument;
    for (;;)
        pause();
    return NULL;
}

int main(int argc, char **argv, char **envp)
{
    if (argc > 1)
        return again(argc, argv, envp);
    GUARD(60);
    self = argv[0];
    char text[5000];
    int status;

    SECTION("arguments");
    char *arguments[] = {self, "args", "one two", "", "\xff\x01", "last", NULL};
    char *environment[] = {"A=1", "EMPTY=", "noequals", "A=2", NULL};
    CHILD("args", execve(self, arguments, environment));
    CHILD("no environment", execve(self, (char *[]){self, "args", NULL}, empty));
    CHILD("NULL environment", execve(self, (char *[]){self, "args", NULL}, NULL));
    CHILD("auxv", execl(self, self, "auxv", self, NULL));
    CHILD("argv[0] is free", execl(self, "anything", "argv0", NULL));
    CHILD("exit code", execl(self, self, "exit", "77", NULL));

    SECTION("errors");
    RES(execve("none", empty, empty));
    RES(execve("", empty, empty));
    RES(execve("/", empty, empty));
    RES(execve(".", empty, empty));
    RES(execve((char *)8, empty, empty));
    RES(execve(self, (char **)8, empty));
    RES(execve(self, (char *[]){(char *)8, NULL}, empty));
    RES(execve(self, empty, (char **)8));
    put("plain", "not executable");
    RES(execve("plain", empty, empty));
    RES(execve("plain/x", empty, empty));
    chmod("plain", 0755);
    RES(execve("plain", empty, empty));
    script("empty", "", 0755);
    RES(execve("empty", empty, empty));
    script("elf", "\177ELF", 0755);
    RES(execve("elf", empty, empty));
    script("elf-long", "\177ELF\2\1\1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 0755);
    RES(execve("elf-long", empty, empty));
    mkfifo("fifo", 0755);
    RES(execve("fifo", empty, empty));
    symlink("loop", "loop");
    RES(execve("loop", empty, empty));
    int fd = open("busy", O_WRONLY | O_CREAT, 0755);
    RES(execve("busy", empty, empty));
    close(fd);

    SECTION("scripts");
    snprintf(text, sizeof text, "#!%s args fixed\nrest\n", self);
    script("script", text, 0755);
    CHILD("script", execve("./script", (char *[]){"zero", "more", "arguments", NULL}, (char *[]){"E=1", NULL}));
    snprintf(text, sizeof text, "#!  %s \t args", self);
    script("script2", text, 0755);
    CHILD("white space, no newline", execve("./script2", (char *[]){"zero", NULL}, empty));
    script("script3", "#!./script\n", 0755);
    CHILD("script of a script", execve("./script3", (char *[]){"zero", "x", NULL}, empty));
    script("bad1", "#!/none/interpreter\n", 0755);
    RES(execve("./bad1", empty, empty));
    script("bad2", "#!\n", 0755);
    RES(execve("./bad2", empty, empty));
    script("bad3", "#!plain\n", 0755);
    RES(execve("./bad3", empty, empty));
    script("bad4", "#!./bad4\n", 0755);
    RES(execve("./bad4", empty, empty));
    script("bad5", "#!.\n", 0755);
    RES(execve("./bad5", empty, empty));
    memset(text, 'a', 1000);
    memcpy(text, "#!/", 3);
    text[1000] = 0;
    script("bad6", text, 0755);
    RES(execve("./bad6", empty, empty));
    chmod("script", 0644);
    RES(execve("./script", empty, empty));

    SECTION("large arguments");
    char *big = malloc(131072 + 10);
    memset(big, 'x', 131071);
    big[131071] = 0;
    CHILD("131071 bytes in one", execl(self, self, "count", big, NULL));
    big[131071] = 'x';
    big[131072] = 0;
    RES(execl(self, self, "count", big, NULL));
    char **many = calloc(200001, sizeof *many);
    for (int i = 2; i < 50000; i++)
        many[i] = "0123456789";
    many[0] = self;
    many[1] = "count";
    CHILD("fifty thousand", execv(self, many));
    for (int i = 2; i < 200000; i++)
        many[i] = "0123456789";
    RES(execv(self, many));
    struct rlimit stack = {512 << 10, RLIM_INFINITY};
    CHILD("a quarter of the stack limit", setrlimit(RLIMIT_STACK, &stack); many[20000] = NULL; RES(execv(self, many)));

    SECTION("what survives");
    mkdir("sub", 0755);
    put("ten", "0123456789");
    CHILD("state", signal(SIGUSR1, handler); signal(SIGUSR2, SIG_IGN); sigset_t set; sigemptyset(&set); sigaddset(&set, SIGHUP);
          sigprocmask(SIG_BLOCK, &set, NULL); raise(SIGHUP); static char alternate[20000]; stack_t s = {.ss_sp = alternate, .ss_size = 20000};
          sigaltstack(&s, NULL); alarm(1000); umask(077); int f = open("ten", O_RDONLY); dup2(f, 10); lseek(f, 4, SEEK_SET);
          dup3(f, 11, O_CLOEXEC); close(f); chdir("sub"); prctl(PR_SET_NAME, "renamed"); sprintf(text, "%d", getpid());
          struct rlimit l = {512, 1024}; setrlimit(RLIMIT_NOFILE, &l); execl(self, "exec", "state", text, NULL));
    alarm(60);

    SECTION("execveat");
    fd = open(self, O_PATH);
    CHILD("by descriptor", RES(syscall(SYS_execveat, fd, "", (char *[]){"zero", "argv0", NULL}, empty, AT_EMPTY_PATH)));
    CHILD("fexecve", fexecve(fd, (char *[]){"zero", "args", NULL}, empty));
    int dir = open(".", O_PATH);
    chmod("script", 0755);
    CHILD("relative", RES(syscall(SYS_execveat, dir, "script", (char *[]){"zero", NULL}, empty, 0)));
    RES(syscall(SYS_execveat, dir, "none", empty, empty, 0));
    RES(syscall(SYS_execveat, 99, "script", empty, empty, 0));
    RES(syscall(SYS_execveat, dir, "", empty, empty, 0));
    RES(syscall(SYS_execveat, dir, "", empty, empty, AT_EMPTY_PATH));
    RES(syscall(SYS_execveat, dir, "script", empty, empty, 0x8000));
    symlink("script", "script-link");
    RES(syscall(SYS_execveat, dir, "script-link", empty, empty, AT_SYMLINK_NOFOLLOW));

    SECTION("with threads");
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, idle, NULL);
        pthread_create(&thread, NULL, exec_in_thread, NULL);
        idle(NULL);
    }
    reap("exec by another thread", pid);
    pid = fork();
    if (pid == 0) {
        pthread_t thread;
        for (int i = 0; i < 3; i++)
            pthread_create(&thread, NULL, idle, NULL);
        execl(self, self, "exit", "34", NULL);
    }
    reap("exec by the first thread", pid);

    SECTION("vfork and exec");
    for (int i = 0; i < 5; i++) {
        pid = vfork();
        if (pid == 0) {
            execl(self, self, "exit", "3", NULL);
            _exit(1);
        }
        waitpid(pid, &status, 0);
        show_status("child", status);
    }

    SECTION("credentials");
    chmod("script", 0711);
    int copy = open("copy", O_CREAT | O_WRONLY | O_CLOEXEC, 0755), original = open(self, O_RDONLY | O_CLOEXEC);
    long n;
    while ((n = read(original, text, sizeof text)) > 0)
        write(copy, text, n);
    close(copy);
    chown("copy", 1234, 1235);
    chmod("copy", 06755);
    CHILD("setuid program", execl("./copy", "./copy", "auxv", "./copy", NULL));
    CHILD("setuid program run by a user", setresgid(7, 7, 7); setresuid(8, 8, 8); execl("./copy", "./copy", "auxv", "./copy", NULL));
    CHILD("no_new_privs", setresgid(7, 7, 7); setresuid(8, 8, 8); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); execl("./copy", "./copy", "auxv", "./copy", NULL));
    chmod("copy", 0700);
    CHILD("not for this user", setresgid(7, 7, 7); setresuid(8, 8, 8); RES(execl("./copy", "./copy", "exit", "0", NULL)));
    chmod("copy", 0644);
    RES(execl("./copy", "./copy", "exit", "0", NULL));
    return 0;
}
