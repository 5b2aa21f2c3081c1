/*
 * pam-time N SERVICE USER [AUTH-INFO]
 *
 * How long pam_open_session(3) of a PAM service takes for a user, in microseconds: the median, the least and the greatest of
 * N. Each session is opened in a process of its own, as sshd does, since a module may move the process; AUTH-INFO is what
 * sshd says of the key that it accepted. With AUTH-INFO the session must open.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* <security/pam_appl.h>, which needs a package of its own. */
struct pam_conv { int (*conv)(int, const void **, void **, void *); void *data; };
typedef struct pam_handle pam_handle_t;
extern int pam_start(const char *, const char *, const struct pam_conv *, pam_handle_t **);
extern int pam_putenv(pam_handle_t *, const char *);
extern int pam_open_session(pam_handle_t *, int);

static int quiet(int count, const void **messages, void **answers, void *data)
{
	(void)count, (void)messages, (void)answers, (void)data;
	return 19; /* PAM_CONV_ERR */
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	int rounds = argc > 3 ? atoi(argv[1]) : 0, status;
	if (rounds < 1) {
		fprintf(stderr, "usage: pam-time N SERVICE USER [AUTH-INFO]\n");
		return 2;
	}
	double *took = mmap(NULL, sizeof(double) * (size_t)(rounds + 1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i <= rounds; i++) { /* the first warms the caches */
		pid_t pid = fork();
		if (pid == 0) {
			struct pam_conv conversation = { quiet, NULL };
			pam_handle_t *handle = NULL;
			char variable[4096];
			if (pam_start(argv[2], argv[3], &conversation, &handle) != 0)
				_exit(3);
			if (argc > 4) {
				snprintf(variable, sizeof variable, "SSH_AUTH_INFO_0=%s", argv[4]);
				pam_putenv(handle, variable);
			}
			pam_putenv(handle, "SSH_CONNECTION=127.0.0.1 40000 127.0.0.1 22");
			double start = now();
			int result = pam_open_session(handle, 0);
			took[i] = now() - start;
			_exit(argc > 4 && result != 0 ? 4 : 0);
		}
		waitpid(pid, &status, 0);
		if (status != 0) {
			fprintf(stderr, "pam-time: no session for '%s' (status %d)\n", argv[3], WEXITSTATUS(status));
			return 1;
		}
	}
	qsort(took + 1, (size_t)rounds, sizeof(double), by_value);
	printf("%.0f %.0f %.0f\n", took[1 + rounds / 2], took[1], took[rounds]);
	return 0;
}
