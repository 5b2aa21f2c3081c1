/*
 * nss-time SERVICES NAME N
 *
 * What it costs a program to look up a user NAME that nobody knows, when its nsswitch.conf says `passwd: SERVICES`: prints
 * the first lookup's time, which loads the modules, and the median of N further ones, both in microseconds. Ends with
 * status 1 when somebody does know the name.
 */
#define _GNU_SOURCE
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double microseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double lookup(const char *name)
{
	struct passwd entry, *found = NULL;
	char buffer[4096];
	double start = microseconds();
	getpwnam_r(name, &entry, buffer, sizeof buffer, &found);
	double took = microseconds() - start;
	if (found != NULL) {
		fprintf(stderr, "nss-time: '%s': somebody knows it\n", name);
		exit(1);
	}
	return took;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	int count = argc == 4 ? atoi(argv[3]) : 0;
	double *times = count > 0 ? malloc((size_t)count * sizeof(double)) : NULL;
	if (times == NULL || __nss_configure_lookup("passwd", argv[1]) != 0) {
		fprintf(stderr, "usage: nss-time SERVICES NAME N\n");
		return 2;
	}
	double first = lookup(argv[2]);
	for (int i = 0; i < count; i++)
		times[i] = lookup(argv[2]);
	qsort(times, (size_t)count, sizeof(double), by_value);
	printf("%.1f %.2f\n", first, times[count / 2]);
	return 0;
}
