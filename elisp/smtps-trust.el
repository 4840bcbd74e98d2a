;;; smtps-trust.el --- Show a certificate, and ask whether to trust it  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A server whose certificate is refused gets nothing.  Where a person has
;; called a command for it, the certificate is shown here, with the reason,
;; and may be rejected (the default), taken for this once, or pinned.
;;
;; Nobody is asked in batch or in a keyboard macro, and nothing is ever
;; trusted there.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps)
(require 'smtps-wire)
(require 'smtps-helper)

(define-error 'smtps-trust-error "Trust" 'smtps-error)

(defconst smtps-trust--answers
  '(("reject" nil "send nothing to this server")
    ("once" once "take this key until the helper ends, at the latest with Emacs")
    ("pin" pin "take this key from now on, and no other, whatever a certificate says"))
  "What may be answered: lists of a word, what it means to us, and to the user.")

(defun smtps-trust--can-ask-p ()
  "Return non-nil if a person is there and may be asked now."
  (not (or noninteractive executing-kbd-macro)))

(defun smtps-trust-pins-file ()
  "Return the name of the file of pins, which need not exist."
  (smtps--xdg "XDG_CONFIG_HOME" "~/.config" "pins"))

(defun smtps-trust--line (server)
  "Return the line that pins the key of SERVER, as in `smtps-trust-ask'."
  (format "%s %d %s" (downcase (plist-get server :host))
          (plist-get server :port) (plist-get server :key)))

(defun smtps-trust--insert (server)
  "Insert what is known of SERVER, as in `smtps-trust-ask', for a person."
  (let ((fill-column 76)
        (paragraph (lambda (text)
                     (let ((start (point)))
                       (insert text "\n\n")
                       (fill-region start (point))))))
    (funcall paragraph
             (propertize (format "The certificate of %s at port %d was refused."
                                 (plist-get server :host)
                                 (plist-get server :port))
                         'face 'error))
    (when (plist-get server :text)
      (funcall paragraph (plist-get server :text)))
    (pcase-dolist (`(,word ,_ ,meaning) smtps-trust--answers)
      (insert (propertize (format "%-8s" word) 'face 'bold) meaning "\n"))
    (insert "\nIts public key, SHA-256:\n  " (plist-get server :key) "\n\n")
    (funcall paragraph "Compare this with what the server's administrator \
says, by telephone or on paper, before you trust it.")
    (when (plist-get server :lines)
      (dolist (line (plist-get server :lines))
        (insert line "\n"))
      (insert "\n"))
    (insert "Pins are kept in "
            (abbreviate-file-name (smtps-trust-pins-file)) "\n")))

(defun smtps-trust--show (server)
  "Show SERVER, as in `smtps-trust-ask', in a buffer, and return that."
  (with-current-buffer (get-buffer-create "*smtps certificate*")
    (special-mode)
    (let ((inhibit-read-only t))
      (erase-buffer)
      (smtps-trust--insert server))
    (goto-char (point-min))
    (current-buffer)))

(defun smtps-trust--read (server)
  "Ask what to do about SERVER; return a word of `smtps-trust--answers'."
  (let ((completion-ignore-case t))
    (completing-read
     (format "Trust %s at port %d?  reject, once or pin (default reject): "
             (plist-get server :host) (plist-get server :port))
     (mapcar #'car smtps-trust--answers) nil t nil t "reject")))

(defun smtps-trust-ask (server)
  "Show the certificate of SERVER and ask; return `once', `pin', or nil to reject.
SERVER is a plist of `:host', `:port' and `:key' (the key's pin, a text),
and may have `:text' (why it was refused, in sentences) and `:lines' (what
was told of the certificate).

Call this only inside a command.  In batch and in a keyboard macro, signal
`smtps-trust-error': nobody is asked, and nothing is trusted."
  (unless (smtps-trust--can-ask-p)
    (signal 'smtps-trust-error
            (list (format "Nobody can be asked now whether to trust %s; \
nothing was trusted or sent.  This line in %s would pin its key: %s"
                          (plist-get server :host)
                          (abbreviate-file-name (smtps-trust-pins-file))
                          (smtps-trust--line server)))))
  (save-window-excursion
    (let ((buffer (smtps-trust--show server)))
      (unwind-protect
          (progn
            (pop-to-buffer buffer)
            ;; A part of a small terminal would not do.
            (ignore-errors (delete-other-windows))
            (nth 1 (assoc (smtps-trust--read server) smtps-trust--answers)))
        (kill-buffer buffer)))))

(cl-defun smtps-trust-accept (server how &key then else)
  "Have the helper take the key of SERVER, and return nil without waiting.
SERVER is as in `smtps-trust-ask', and HOW what that has returned: `once'
or `pin'.  Afterwards THEN is called without an argument, or ELSE with an
error; without an ELSE the error is shown."
  (cl-check-type how (member once pin))
  (smtps-helper-call
   'trust
   (list :host (plist-get server :host) :port (plist-get server :port)
         :key (plist-get server :key) :pin (eq how 'pin))
   :then (lambda (_value) (when then (funcall then)))
   :else else))

(provide 'smtps-trust)
;;; smtps-trust.el ends here
