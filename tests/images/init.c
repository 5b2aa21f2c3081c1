/*
 * init: the first process of the tests' containers. Waits for whatever becomes its child, and ends at SIGTERM.
 * With words after its name it is a small program in its own right, for images that hold nothing else:
 *   init say WORD...   prints the words, each on a line of its own, and exits 0
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal)
{
	(void)signal;
	_exit(0);
}

static void nothing(int signal)
{
	(void)signal;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "say") == 0) {
		for (int i = 2; i < argc; i++)
			puts(argv[i]);
		return 0;
	}
	/* Blocked but in sigsuspend, so that no child can end between the look and the sleep. */
	sigset_t block, old;
	sigemptyset(&block);
	sigaddset(&block, SIGCHLD);
	sigprocmask(SIG_BLOCK, &block, &old);
	struct sigaction action = { .sa_handler = nothing };
	sigaction(SIGCHLD, &action, NULL);
	action.sa_handler = end;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (;;) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		sigsuspend(&old);
	}
}
