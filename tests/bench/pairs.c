/*
 * pairs N CMD [ARG]... [-- CMD [ARG]...]...
 *
 * How long commands take, from their start to their end, against the first of them. A round starts each command once, the
 * next round in the other order, so that whatever slows the machine slows all of them alike. A command is started by
 * posix_spawn(3), which does not copy this process (CLONE_VFORK), found by its path, with /dev/null as 0, 1 and 2; the clock
 * (CLOCK_MONOTONIC) runs from before the start until waitpid(2) has the end. One round before the
 * first warms the caches and does not count.
 *
 * Prints a line for each command: the median, the least and the greatest time in microseconds; the median, the least and
 * the greatest of the N ratios to the first command's time in the same round; the median of the N differences to it, in
 * microseconds; and the ratio of the least times, which a busy machine blurs least. Ends with status 1 when a command
 * can't be started or fails.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

enum { MOST = 16 };

static double microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Runs a command to its end and returns how long that took; ends this program when the command fails. */
static double run(char **command, const posix_spawn_file_actions_t *quiet)
{
	pid_t pid;
	int status;
	double start = microseconds();
	int fault = posix_spawn(&pid, command[0], quiet, NULL, command, environ);
	if (fault != 0) {
		fprintf(stderr, "pairs: '%s': %s\n", command[0], strerror(fault));
		exit(1);
	}
	waitpid(pid, &status, 0);
	double took = microseconds() - start;
	if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "pairs: '%s' failed: %s %d\n", command[0], WIFSIGNALED(status) ? "signal" : "exit status",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		exit(1);
	}
	return took;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Sorts `values`. */
static double median(double *values, int count)
{
	qsort(values, (size_t)count, sizeof(double), by_value);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[1]) : 0;
	char **commands[MOST];
	int count = 0;
	if (rounds < 1) {
		fprintf(stderr, "usage: pairs N CMD [ARG]... [-- CMD [ARG]...]...\n");
		return 2;
	}
	commands[count++] = &argv[2];
	for (int i = 2; i < argc - 1; i++) {
		if (strcmp(argv[i], "--") == 0 && count < MOST) {
			argv[i] = NULL;
			commands[count++] = &argv[i + 1];
		}
	}
	posix_spawn_file_actions_t quiet;
	posix_spawn_file_actions_init(&quiet);
	for (int fd = 0; fd <= 2; fd++)
		posix_spawn_file_actions_addopen(&quiet, fd, "/dev/null", O_RDWR, 0);

	size_t size = (size_t)rounds * sizeof(double);
	double *times[MOST], *ratios = malloc(size), *differences = malloc(size);
	for (int c = 0; c < count; c++)
		times[c] = malloc(size);
	for (int round = -1; round < rounds; round++) {
		for (int i = 0; i < count; i++) {
			int c = round % 2 == 0 ? i : count - 1 - i;
			double took = run(commands[c], &quiet);
			if (round >= 0)
				times[c][round] = took;
		}
	}
	double *first = malloc(size);
	memcpy(first, times[0], size);
	for (int c = 0; c < count; c++) {
		for (int round = 0; round < rounds; round++) {
			ratios[round] = times[c][round] / first[round];
			differences[round] = times[c][round] - first[round];
		}
		double time = median(times[c], rounds), ratio = median(ratios, rounds);
		printf("%.0f %.0f %.0f %.3f %.3f %.3f %.0f %.3f\n", time, times[c][0], times[c][rounds - 1], ratio, ratios[0],
		       ratios[rounds - 1], median(differences, rounds), times[c][0] / times[0][0]);
	}
	return 0;
}
