;;; smtps-host.el --- A server as a person names it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; HOST, HOST:PORT or [V6]:PORT is what is typed where a command wants a
;; server.  An account may know the rest; how TLS begins is asked for where
;; neither it nor the port tells.

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'smtps)

(defun smtps-host-known ()
  "Return the hosts of the accounts, as one may type them."
  (delq nil
        (mapcar (lambda (account)
                  (let ((host (plist-get (cdr account) :host))
                        (port (plist-get (cdr account) :port)))
                    (and host
                         (if (memq port '(nil 465)) host (format "%s:%s" host port)))))
                (ignore-error smtps-account-error (smtps-known-accounts)))))

(defun smtps-host-split (text)
  "Return TEXT, which is HOST, HOST:PORT or [V6]:PORT, as (HOST . PORT).
PORT is nil where none is given.  Signal `user-error' if it is none of these."
  (setq text (string-trim text))
  (let* ((port (and (string-match "\\`\\(?:[^:]*\\|\\[.*]\\):\\([^]:]*\\)\\'" text)
                    (match-string 1 text)))
         (host (if port (substring text 0 (- -1 (length port))) text)))
    (when (string-match "\\`\\[\\(.*\\)]\\'" host)
      (setq host (match-string 1 host)))
    (cond ((string= host "")
           (user-error "No host was given"))
          ;; Only an address of IPv6 has colons.
          ((and (string-search ":" host)
                (not (string-match-p "\\`[0-9a-fA-F:.]+\\(?:%.*\\)?\\'" host)))
           (user-error "“%s” is no host" host)))
    (cons host (and port (smtps-host-port port)))))

(defun smtps-host-port (port)
  "Return PORT, a number or the text of one, as a number.
Signal `user-error' if it is none."
  (let ((number (cond ((integerp port) port)
                      ((string-match-p "\\`[0-9]\\{1,5\\}\\'" port)
                       (string-to-number port)))))
    (unless (and number (< 0 number 65536))
      (user-error "“%s” is no port: ports are numbers from 1 to 65535" port))
    number))

(defun smtps-host-account (host port tls)
  "Return the account for HOST, whole, or nil.
Where PORT or TLS is not nil, it must be the account's.  Signal `user-error'
if an account for HOST can't be used."
  (condition-case err
      (seq-find (lambda (account)
                  (and (memql port (list nil (plist-get account :port)))
                       (memq tls (list nil (plist-get account :tls)))))
                (mapcar (lambda (entry)
                          (smtps--check-account (car entry) (cdr entry)))
                        (seq-filter (lambda (entry)
                                      (equal (plist-get (cdr entry) :host) host))
                                    (smtps-known-accounts))))
    (smtps-account-error (user-error "%s" (cadr err)))))

;;; How TLS begins

(defconst smtps-host--ways
  '((implicit . "from the first byte")
    (starttls . "in clear, until STARTTLS is said")
    (none . "in clear to the end"))
  "How TLS may begin, and what that is.")

(defun smtps-host-read-tls (host port &optional always)
  "Ask how TLS begins at PORT of HOST; return it, a symbol, or nil if it is known.
HOST is as in `smtps-host-split', which may have the port.  It is known by the
port, which may be left out, or by an account; with ALWAYS, ask all the same."
  (pcase-let* ((`(,host . ,typed) (smtps-host-split host))
               (port (or port typed)))
    (when (or always
              (and port
                   (not (rassq port smtps--ports))
                   (not (smtps-host-account host port nil))))
      (let* ((port (or port 465))
             (default (symbol-name (or (plist-get (smtps-host-account host port nil) :tls)
                                       (plist-get (smtps--check-account
                                                   nil (list :host host :port port))
                                                  :tls))))
             (completion-extra-properties
              (list :annotation-function
                    (lambda (word)
                      (format "  %s" (alist-get (intern word) smtps-host--ways))))))
        (intern (completing-read
                 (format-prompt "TLS at port %d (implicit, starttls or none)" default port)
                 (mapcar #'symbol-name (mapcar #'car smtps-host--ways))
                 nil t nil nil default))))))

(provide 'smtps-host)
;;; smtps-host.el ends here
