;;; smtps-session-steps.el --- The steps of a session  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; Connection, greeting, EHLO, STARTTLS, login, each transaction, QUIT: Imenu
;; goes to them, and `outline-minor-mode' folds what is between them.  Which
;; line begins a step is noted when it is shown, from what the helper tells of
;; it, so that no line of a message is taken for a command.  Outline knows
;; only the text, and may take one for that.

;;; Code:

(require 'cl-lib)
(require 'imenu)

(defvar outline-regexp)
(defvar outline-level)

(defun smtps-session-steps--of (kind verb text)
  "Return the name of the step that a line begins, or nil.
KIND is `info', `recv' or `send', VERB the command as the helper tells it, TEXT
the line."
  (pcase kind
    ('recv (and (eq verb 'greeting) "Greeting"))
    ('info (and (string-prefix-p "Resolving " text) "Connection"))
    ('send
     (pcase verb
       ('mail (concat "Transaction" (and (string-match "<[^>]*>" text)
                                         (concat " of " (match-string 0 text)))))
       ('auth "Login")
       ((or 'ehlo 'helo 'starttls 'quit) (upcase (symbol-name verb)))))))

(defun smtps-session-steps--index ()
  "Return an index for Imenu: what begins where in this buffer.
Where a step's name comes again it is numbered, since Imenu goes by names."
  (let ((position (point-min)) (times (make-hash-table :test #'equal)) index previous)
    (while (< position (point-max))
      (let ((step (get-text-property position 'smtps-session-step)))
        ;; The lines of one greeting are one step.
        (when (and step (not (and (equal step "Greeting") (equal previous step))))
          (let ((count (cl-incf (gethash step times 0))))
            (push (cons (if (= count 1) step (format "%s (%d)" step count))
                        (copy-marker position))
                  index)))
        (setq previous step))
      (setq position (next-single-property-change
                      position 'smtps-session-step nil (point-max))))
    (nreverse index)))

(defun smtps-session-steps--set-up ()
  "Let Imenu and Outline know what begins where."
  (setq-local imenu-create-index-function #'smtps-session-steps--index)
  (setq-local imenu-auto-rescan t)
  (setq-local imenu-space-replacement nil)
  (setq-local outline-level (lambda () 1))
  (setq-local outline-regexp
              (concat "\\(?:Resolving '\\|recv> 220[ -]\\|send> "
                      (regexp-opt '("ehlo" "helo" "starttls" "auth" "mail from" "quit"))
                      "\\_>"
                      ;; Nothing is to be folded with the prompt in it.
                      "\\|.+\\'\\)")))

(provide 'smtps-session-steps)
;;; smtps-session-steps.el ends here
