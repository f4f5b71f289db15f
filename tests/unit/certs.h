/* SPDX-License-Identifier: MIT */
/* Certificates for tests, made as they run. All functions end the program on failure. */
#ifndef TEST_CERTS_H
#define TEST_CERTS_H

#include <openssl/ssl.h>

struct cert {
	X509 *x509;
	EVP_PKEY *key;
};

struct cert_spec {
	const char *common_name;
	const char *names;         /* "DNS:a.example,IP:127.0.0.1", or NULL */
	int from_days, until_days; /* from now */
	const struct cert *issuer; /* NULL: self-signed */
	int is_ca;
};

struct cert cert_make(const struct cert_spec *spec);
void cert_free(struct cert *cert);
/* PEM files: the certificate, and with it the key if with_key. */
void cert_write(const struct cert *cert, const char *path, int with_key);
/* A server that shows this certificate. client_ca: ask for a client certificate of this CA. */
SSL_CTX *cert_server(const struct cert *cert, const struct cert *client_ca);

#endif
