/* SPDX-License-Identifier: MIT */
/*
 * The password or token of the account: from a command, a file, a systemd
 * credential or the terminal; never from the command line or the environment.
 *
 * What the terminal gave is kept in memory until the end, since it can't be
 * asked for again; a command and a file are read at each login.
 */
#ifndef SECRET_H
#define SECRET_H

#include <glib.h>
#include <stdbool.h>

#include "base/fault.h"
#include "settings.h"

struct secret;

/* Finds out where the secret is to come from, and asks the terminal if that is the place: call it
 * before the program leaves it. Settings must outlive the secret. False: with a fault. */
bool secret_new(const struct settings *settings, struct secret **secret_r, struct fault *fault);
/* Wipes it. NULL in *secret is accepted. */
void secret_free(struct secret **secret);

bool secret_is_token(const struct secret *secret);
/* Neither password nor token: a certificate or a ticket must do. */
bool secret_is_none(const struct secret *secret);

/* Appends the secret to out; ctx is the struct secret. refresh: the last one was refused (a command
 * is run again in any case). Any thread. Waits for the command, at most two minutes. */
bool secret_get(void *ctx, bool refresh, GString *out, struct fault *fault);

#endif
