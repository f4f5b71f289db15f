/* SPDX-License-Identifier: MIT */
/*
 * TLS by OpenSSL: see tls.h. A BIO of our own reads from and writes to the
 * buffers of the call that is running, so that OpenSSL never touches a socket.
 */
#include "config.h"

#include "net/tls.h"

#include <arpa/inet.h>
#include <glib.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define STEP      16384u /* the most that one TLS record holds */
#define NAMES_MAX 120u   /* octets of the certificate's names in a message */

struct tls {
	SSL_CTX *context;
	SSL *ssl;
	char *host;
	char *describe;
	struct buffer *wire_in, *wire_out; /* during a call */
	/* What verification found first, X509_V_OK if nothing. */
	int verify_error;
	X509 *verify_leaf, *verify_at; /* the server's certificate, and the one at fault */
};

/* --- the BIO --------------------------------------------------------------------------- */

static int
bio_read(BIO *bio, char *data, int size)
{
	struct tls *tls = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	size_t len =
		tls->wire_in != NULL && size > 0 ? MIN(buffer_len(tls->wire_in), (size_t)size) : 0;
	if (len == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(data, buffer_start(tls->wire_in), len);
	buffer_consume(tls->wire_in, len);
	return (int)len;
}

static int
bio_write(BIO *bio, const char *data, int len)
{
	struct tls *tls = BIO_get_data(bio);
	BIO_clear_retry_flags(bio);
	if (tls->wire_out == NULL || len < 0)
		return -1;
	buffer_append(tls->wire_out, data, (size_t)len);
	return len;
}

static long
bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *
bio_method(void)
{
	static gsize once;
	static BIO_METHOD *method;
	if (g_once_init_enter(&once)) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "imapfs buffers");
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_control);
		g_once_init_leave(&once, 1);
	}
	return method;
}

/* --- setting up ------------------------------------------------------------------------ */

/* OpenSSL's newest error, in words. */
static const char *
openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	return reason != NULL ? reason : "no reason given";
}

/* There is nobody to ask for the passphrase of a key. */
static int
no_passphrase(char *data, int size, int writing, void *user)
{
	(void)data, (void)size, (void)writing, (void)user;
	return 0;
}

static bool
load_files(SSL_CTX *context, const struct tls_config *config, struct fault *fault)
{
	if (config->cafile == NULL) {
		if (SSL_CTX_set_default_verify_paths(context) != 1)
			return fault_set(fault, FAULT_TLS,
					 "the system's certificates can't be read: %s",
					 openssl_reason());
	} else if (SSL_CTX_load_verify_file(context, config->cafile) != 1) {
		return fault_set(fault, FAULT_TLS, "cafile %s can't be used: %s", config->cafile,
		                 openssl_reason());
	} else {
		/* Who names a certificate trusts it, also where it isn't a CA's. */
		X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
	}
	if (config->certfile == NULL)
		return true;
	const char *keyfile = config->keyfile != NULL ? config->keyfile : config->certfile;
	SSL_CTX_set_default_passwd_cb(context, no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(context, config->certfile) != 1)
		return fault_set(fault, FAULT_TLS, "certfile %s can't be used: %s",
				 config->certfile, openssl_reason());
	if (SSL_CTX_use_PrivateKey_file(context, keyfile, SSL_FILETYPE_PEM) != 1)
		return fault_set(fault, FAULT_TLS,
				 "keyfile %s can't be used (a key with a passphrase "
				 "can't): %s",
				 keyfile, openssl_reason());
	return true;
}

static bool
set_host(struct tls *tls)
{
	struct in6_addr address;
	X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
	if (inet_pton(AF_INET, tls->host, &address) == 1 ||
	    inet_pton(AF_INET6, tls->host, &address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(param, tls->host) == 1;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, tls->host, 0) == 1 &&
	       SSL_set_tlsext_host_name(tls->ssl, tls->host) == 1;
}

/* Keeps the first thing that verification finds wrong; the handshake then fails by itself. */
static int
note_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *tls = SSL_get_app_data(ssl);
	if (ok || tls->verify_error != X509_V_OK)
		return ok;
	X509 *at = X509_STORE_CTX_get_current_cert(store), *leaf = X509_STORE_CTX_get0_cert(store);
	tls->verify_error = X509_STORE_CTX_get_error(store);
	if (leaf != NULL && X509_up_ref(leaf) == 1)
		tls->verify_leaf = leaf;
	if (at == NULL)
		at = leaf;
	if (at != NULL && X509_up_ref(at) == 1)
		tls->verify_at = at;
	return ok;
}

static bool
set_up(struct tls *tls, const struct tls_config *config, struct fault *fault)
{
	tls->context = SSL_CTX_new(TLS_client_method());
	if (tls->context == NULL ||
	    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1)
		return fault_set(fault, FAULT_TLS, "TLS can't start: %s", openssl_reason());
	if (!load_files(tls->context, config, fault))
		return false;
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, note_verify);
	SSL_CTX_set_mode(tls->context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	tls->ssl = SSL_new(tls->context);
	BIO *bio = tls->ssl != NULL ? BIO_new(bio_method()) : NULL;
	if (bio == NULL)
		return fault_set(fault, FAULT_TLS, "TLS can't start: %s", openssl_reason());
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_app_data(tls->ssl, tls);
	SSL_set_connect_state(tls->ssl);
	if (!set_host(tls))
		return fault_set(fault, FAULT_TLS, "%s can't be a host's name in TLS", tls->host);
	return true;
}

struct tls *
tls_new(const struct tls_config *config, const char *host, struct fault *fault)
{
	struct tls *tls = g_new0(struct tls, 1);
	tls->host = g_strdup(host);
	tls->verify_error = X509_V_OK;
	ERR_clear_error();
	if (!set_up(tls, config, fault))
		tls_free(&tls);
	return tls;
}

void
tls_free(struct tls **tls)
{
	if (*tls == NULL)
		return;
	SSL_free((*tls)->ssl);
	SSL_CTX_free((*tls)->context);
	X509_free((*tls)->verify_leaf);
	X509_free((*tls)->verify_at);
	g_free((*tls)->host);
	g_free((*tls)->describe);
	g_free(*tls);
	*tls = NULL;
}

/* --- what is wrong with a certificate -------------------------------------------------- */

static void
append_name(GString *out, const char *name, size_t len)
{
	if (out->len > 0)
		g_string_append(out, ", ");
	g_string_append_len(out, name, (gssize)len);
}

/* The names that a certificate is for. */
static void
append_names(X509 *cert, GString *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int count = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
	for (int i = 0; i < count && out->len < NAMES_MAX; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		char text[INET6_ADDRSTRLEN];
		if (name->type == GEN_DNS) {
			append_name(out, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
			            (size_t)ASN1_STRING_length(name->d.dNSName));
		} else if (name->type == GEN_IPADD) {
			int len = ASN1_STRING_length(name->d.iPAddress);
			const void *address = ASN1_STRING_get0_data(name->d.iPAddress);
			if ((len == 4 || len == 16) &&
			    inet_ntop(len == 4 ? AF_INET : AF_INET6, address, text, sizeof text) !=
				    NULL)
				append_name(out, text, strlen(text));
		}
	}
	GENERAL_NAMES_free(names);
	char common[64];
	if (out->len == 0 && X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
	                                               common, sizeof common) > 0)
		append_name(out, common, strlen(common));
	if (out->len == 0)
		g_string_append(out, "none");
	if (out->len > NAMES_MAX) {
		g_string_truncate(out, NAMES_MAX);
		g_string_append(out, "...");
	}
}

/* The issuer's common name, else its organisation. */
static void
issuer_text(X509 *cert, char *text, int size)
{
	X509_NAME *issuer = X509_get_issuer_name(cert);
	if (X509_NAME_get_text_by_NID(issuer, NID_commonName, text, size) <= 0 &&
	    X509_NAME_get_text_by_NID(issuer, NID_organizationName, text, size) <= 0)
		g_strlcpy(text, "an unnamed issuer", (gsize)size);
}

static void
date_text(const ASN1_TIME *date, char *text, size_t size)
{
	struct tm tm;
	if (ASN1_TIME_to_tm(date, &tm) != 1 || strftime(text, size, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		g_strlcpy(text, "an unknown date", size);
}

static void
fingerprint_text(X509 *cert, char *text, size_t size)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	text[0] = '\0';
	if (X509_digest(cert, EVP_sha256(), digest, &len) != 1 || size < len * 3)
		return;
	for (unsigned i = 0; i < len; i++)
		g_snprintf(text + i * 3, 4, "%02X%s", digest[i], i + 1 < len ? ":" : "");
}

static void
describe_certificate(struct tls *tls, struct fault *fault)
{
	char issuer[64], date[64], print[EVP_MAX_MD_SIZE * 3 + 1];
	X509 *leaf = tls->verify_leaf, *at = tls->verify_at;
	const char *whose = at == leaf ? "" : "an issuer of ";
	GString *names;
	issuer_text(at, issuer, sizeof issuer);
	fingerprint_text(leaf, print, sizeof print);
	switch (tls->verify_error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		date_text(X509_get0_notAfter(at), date, sizeof date);
		fault_set(fault, FAULT_TLS,
			  "%sthe certificate of %s expired on %s: it must be renewed "
			  "on the server (SHA-256 %s)",
			  whose, tls->host, date, print);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		date_text(X509_get0_notBefore(at), date, sizeof date);
		fault_set(fault, FAULT_TLS,
			  "%sthe certificate of %s is not yet valid, but from %s: is "
			  "the clock of this machine right? (SHA-256 %s)",
			  whose, tls->host, date, print);
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		names = g_string_new(NULL);
		append_names(leaf, names);
		fault_set(fault, FAULT_TLS, "the certificate is not for %s but for: %s; use one of "
		          "these as the host (SHA-256 %s)", tls->host, names->str, print);
		g_string_free(names, TRUE);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		fault_set(fault, FAULT_TLS,
			  "the certificate of %s is self-signed; if it is the right "
			  "one (SHA-256 %s), save it and trust it by -o cafile=FILE",
			  tls->host, print);
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		fault_set(fault, FAULT_TLS,
			  "the certificate of %s was issued by \"%s\", which is not "
			  "trusted; to trust it, give the issuer's certificate by -o cafile=FILE "
			  "(SHA-256 %s)",
			  tls->host, issuer, print);
		break;
	default:
		fault_set(fault, FAULT_TLS,
			  "the certificate of %s, issued by \"%s\", is refused: %s "
			  "(SHA-256 %s)",
			  tls->host, issuer, X509_verify_cert_error_string(tls->verify_error),
			  print);
	}
}

static void
describe_failure(struct tls *tls, struct fault *fault)
{
	int reason = ERR_GET_REASON(ERR_peek_last_error());
	if (tls->verify_error != X509_V_OK && tls->verify_leaf != NULL && tls->verify_at != NULL)
		describe_certificate(tls, fault);
	else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
	         reason == SSL_R_PACKET_LENGTH_TOO_LONG)
		fault_set(fault, FAULT_TLS, "%s does not speak TLS here (imaps:// is for port 993, "
		          "imap:// for port 143)", tls->host);
	else
		fault_set(fault, FAULT_TLS, "TLS with %s failed: %s", tls->host, openssl_reason());
}

/* --- octets ---------------------------------------------------------------------------- */

static void
use_buffers(struct tls *tls, struct buffer *wire_in, struct buffer *wire_out)
{
	tls->wire_in = wire_in;
	tls->wire_out = wire_out;
	ERR_clear_error();
}

static enum tls_result
failed_result(struct tls *tls, int code, struct fault *fault)
{
	switch (SSL_get_error(tls->ssl, code)) {
	case SSL_ERROR_WANT_READ:
		return TLS_MORE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		describe_failure(tls, fault);
		return TLS_FAILED;
	}
}

enum tls_result
tls_handshake(struct tls *tls, struct buffer *wire_in, struct buffer *wire_out, struct fault *fault)
{
	use_buffers(tls, wire_in, wire_out);
	int code = SSL_do_handshake(tls->ssl);
	enum tls_result result = code == 1 ? TLS_DONE : failed_result(tls, code, fault);
	use_buffers(tls, NULL, NULL);
	if (result == TLS_DONE && tls->describe == NULL)
		tls->describe = g_strdup_printf("%s %s", SSL_get_version(tls->ssl),
		                                SSL_get_cipher_name(tls->ssl));
	return result;
}

enum tls_result
tls_decrypt(struct tls *tls, struct buffer *wire_in, struct buffer *wire_out, struct buffer *plain,
            size_t max, struct fault *fault)
{
	size_t before = buffer_len(plain);
	enum tls_result result = TLS_DONE;
	use_buffers(tls, wire_in, wire_out);
	while (buffer_len(plain) - before < max) {
		size_t len;
		char *room = buffer_room(plain, STEP);
		int code = SSL_read_ex(tls->ssl, room, STEP, &len);
		if (code != 1) {
			result = failed_result(tls, code, fault);
			break;
		}
		buffer_added(plain, len);
	}
	use_buffers(tls, NULL, NULL);
	return result == TLS_MORE ? TLS_DONE : result;
}

bool
tls_encrypt(struct tls *tls, struct buffer *plain, struct buffer *wire_out, struct fault *fault)
{
	bool ok = true;
	use_buffers(tls, NULL, wire_out);
	while (ok && buffer_len(plain) > 0) {
		size_t len;
		/* The BIO takes everything, so that a write is never half done. */
		int code = SSL_write_ex(tls->ssl, buffer_start(plain), buffer_len(plain), &len);
		if (code == 1)
			buffer_consume(plain, len);
		else if (failed_result(tls, code, fault) != TLS_FAILED)
			ok = fault_set(fault, FAULT_TLS, "TLS with %s was ended", tls->host);
		else
			ok = false;
	}
	use_buffers(tls, NULL, NULL);
	buffer_wipe(plain);
	return ok;
}

void
tls_close(struct tls *tls, struct buffer *wire_out)
{
	if (!SSL_is_init_finished(tls->ssl))
		return;
	use_buffers(tls, NULL, wire_out);
	SSL_shutdown(tls->ssl);
	use_buffers(tls, NULL, NULL);
	ERR_clear_error();
}

const char *
tls_describe(const struct tls *tls)
{
	return tls->describe != NULL ? tls->describe : "TLS";
}

bool
tls_binding(const struct tls *tls, unsigned char binding_r[TLS_BINDING_LEN])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	if (SSL_version(tls->ssl) < TLS1_3_VERSION)
		return false;
	return SSL_export_keying_material(tls->ssl, binding_r, TLS_BINDING_LEN, label,
	                                  sizeof label - 1, (const unsigned char *)"", 0, 1) == 1;
}
