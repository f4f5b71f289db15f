/* SPDX-License-Identifier: MIT */
/* Dialogues as tables: see dialogue.h. */
#include "config.h"

#include "dialogue.h"

#include <string.h>

static void
take_turn(struct peer *peer, const struct turn *turn)
{
	switch (turn->kind) {
	case TURN_SEND:
		peer_send_octets(peer, turn->text, strlen(turn->text));
		break;
	case TURN_EXPECT:
		peer_expect(peer, turn->text);
		break;
	case TURN_LINE:
		peer_expect_line(peer, turn->text);
		break;
	case TURN_REPLY:
		peer_reply(peer, "%s", turn->text);
		break;
	case TURN_HANG:
		peer_hang(peer);
		break;
	case TURN_CUT:
		peer_cut(peer);
		break;
	case TURN_ACCEPT:
		peer_accept(peer);
		break;
	case TURN_DEFLATE:
		peer_start_deflate(peer);
		break;
	case TURN_CLOSED:
		peer_expect_end(peer);
		break;
	case TURN_END:
		break;
	}
}

void
dialogue_run(struct peer *peer, const struct turn *turns)
{
	for (; turns->kind != TURN_END; turns++)
		take_turn(peer, turns);
}

void
dialogue_script(struct peer *peer, void *turns)
{
	peer_accept(peer);
	dialogue_run(peer, turns);
}

static bool
get_secret(void *ctx, bool refresh, GString *secret_r, struct fault *fault)
{
	struct dialogue_secret *secret = ctx;
	secret->asked++;
	secret->refreshed += refresh;
	const char *text = secret->secrets[refresh ? 1 : 0];
	if (text == NULL)
		return fault_set(fault, FAULT_AUTH, "no secret");
	g_string_append(secret_r, text);
	return true;
}

struct conn_config
dialogue_config(const struct peer *peer, struct dialogue_secret *secret, bool is_token)
{
	struct conn_config config = {
		.host = "127.0.0.1",
		.port = peer_port(peer),
		.tls = CONN_TLS_OFF,
		.user = "alice",
		.timeout_s = 5,
	};
	if (secret != NULL)
		config.secret = (struct auth_secret_source){ get_secret, secret, is_token };
	return config;
}
