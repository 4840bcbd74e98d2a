;;; smtps-session-state.el --- Where a session stands  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; What is known of one session, each in its buffer, and what that makes of the
;; line that is typed.  What was typed and has not left yet is pending.  The
;; server's questions tell what the next line is (`smtps-session--due').

;;; Code:

(require 'seq)
(require 'subr-x)

(defvar smtps-session--buffers nil
  "Alist: session number -> buffer, of the sessions that are open.")

(defvar-local smtps-session-state nil
  "Where the dialogue stands, a symbol; `closed' when there is no connection.")

(defvar-local smtps-session--number nil
  "The helper's number of this session; nil when it is closed.")

(defvar-local smtps-session--opening nil
  "Non-nil until the helper has said which number this session has.
An object of its own for each time that the session is opened.")

(defvar-local smtps-session--hung-up nil
  "Non-nil if it was we who closed the connection.")

(defvar-local smtps-session--arguments nil
  "The arguments this session was opened with, for opening it again.")

(defvar-local smtps-session--began nil
  "Where and when the connection was begun that was the last: (MARKER . TIME).")

(defvar-local smtps-session--pending nil
  "What was typed and has not left yet, the first first.
A list of (LINE DUE GIVEN).  DUE is what LINE was typed as, see
`smtps-session--due'.  GIVEN is non-nil once the helper has it; then LINE is
nil if DUE is not, so that no secret is kept.")

(defvar-local smtps-session--asked nil
  "What the server waits for: `username', `password', `credentials', `response'.")

(defvar-local smtps-session--answered 0
  "How many lines were typed since the server asked for that.")

(defvar-local smtps-session--owed 0
  "How many replies the server owes.")

(defvar-local smtps-session--data nil
  "Non-nil while DATA is open.")

(defvar-local smtps-session-offers nil
  "What the server offers, as strings: its keywords with their parameters.")

(defun smtps-session-mechanisms ()
  "Return the names of the server's mechanisms, in its order.
What can be none is left out (RFC 4422 section 3.1): it may be anything."
  (seq-filter (lambda (name) (string-match-p "\\`[A-Za-z0-9_-]+\\'" name))
              (cdr (split-string (or (seq-find (lambda (offer)
                                                 (string-prefix-p "AUTH " offer))
                                               smtps-session-offers)
                                     "")))))

(defvar-local smtps-session-tls nil
  "The version of TLS, a string; nil in clear.")

(defvar-local smtps-session-mechanism nil
  "The mechanism by which somebody is logged in, a string, or nil.")

(defvar-local smtps-session-user nil
  "Who was logged in here by `smtps-session-log-in'.")

(defvar-local smtps-session-refused-account nil
  "The account, whole, by which `smtps-session-log-in' was refused here, or nil.
Nobody has logged in since on this connection.")

(defvar-local smtps-session-stands-hook nil
  "Functions called in a session's buffer whenever it stands otherwise.")

(defvar-local smtps-session--refused nil
  "The server whose certificate was refused and may be trusted, or nil.
A plist as `smtps-trust-ask' takes it.")

(defun smtps-session--due ()
  "Return what a line typed now is: a symbol as in `smtps-session--asked', or nil.
AUTH LOGIN asks for two things in turn, the others for one."
  (if (memq smtps-session--asked '(username password))
      (nth smtps-session--answered (memq smtps-session--asked '(username password)))
    (and (= smtps-session--answered 0) smtps-session--asked)))

(defun smtps-session--hidden-p ()
  "Return non-nil if what is typed now is not to be seen."
  (memq (smtps-session--due) '(password credentials response)))

(defun smtps-session--open-p ()
  "Return non-nil if this session is open, or is being opened."
  (or smtps-session--number smtps-session--opening))

(defun smtps-session--login-p ()
  "Return non-nil while a login is under way."
  (or smtps-session--asked (eq smtps-session-state 'authenticating)))

(defun smtps-session--forget (state)
  "Forget the dialogue that was; that of STATE begins."
  (setq smtps-session-state state
        smtps-session--number nil
        smtps-session--opening nil
        smtps-session--pending nil
        smtps-session--asked nil
        smtps-session--answered 0
        smtps-session--owed 0
        smtps-session--data nil
        smtps-session-offers nil
        smtps-session-tls nil
        smtps-session-mechanism nil
        smtps-session-user nil
        smtps-session-refused-account nil))

(defun smtps-session--sentence (err)
  "Return the sentence in ERR, an error of the helper."
  (if (stringp (cadr err)) (cadr err) (error-message-string err)))

(defvar smtps-session--names nil
  "Names that were given for a login: an alist of (HOST . PORT) -> the last.")

(defun smtps-session-note-name (host port name)
  "Note that NAME is who logs in at PORT of HOST, to propose it the next time."
  (setf (alist-get (cons host port) smtps-session--names nil nil #'equal) name))

(defun smtps-session-last-name (host port)
  "Return who was to log in last at PORT of HOST, or nil."
  (alist-get (cons host port) smtps-session--names nil nil #'equal))

(defun smtps-session-read-name (host port)
  "Read who is to log in at PORT of HOST, the one of the last time by default."
  (let ((default (or (smtps-session-last-name host port) user-mail-address)))
    (read-string (format-prompt "User" default) nil nil default)))

(provide 'smtps-session-state)
;;; smtps-session-state.el ends here
