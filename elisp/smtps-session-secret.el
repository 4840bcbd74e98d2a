;;; smtps-session-secret.el --- What is typed in a session and not to be seen  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; A password is hidden while it is typed, and is kept in no history, no undo
;; list and no kill ring.

;;; Code:

(require 'subr-x)
(require 'smtps-session-buffer)

(defconst smtps-session--auth-regexp
  "^[ \t]*auth[ \t]+[^ \t\n]+[ \t]*\\(.*\\(?:\n[ \t]*[^ \t\n]*[ \t]*$\\)*\\)"
  "An AUTH command; the first group is what may be a secret (RFC 4954 section 4).
That is what stands behind the mechanism, and each line below that is one word,
as base64 is: what the server is going to ask for.")

(defvar-local smtps-session--typed-at 0
  "When a letter was typed here last, in seconds since the epoch.")

(defun smtps-session--hide (beg end _old)
  "Show what is typed from BEG to END as stars if it is not to be seen.
What stands behind the mechanism of an AUTH is not, either, nor what answers it."
  (when (and (get-buffer-process (current-buffer))
             (>= beg (smtps-session--mark)))
    (when (eq this-command 'self-insert-command)
      (setq smtps-session--typed-at (float-time)))
    (with-silent-modifications
      (if (smtps-session--hidden-p)
          (smtps-session--star beg end)
        (save-excursion
          (save-restriction
            (save-match-data
              ;; All of it: a line may be a secret by one above it.
              (widen)
              (narrow-to-region (smtps-session--mark) (point-max))
              (goto-char (point-min))
              (remove-text-properties (point-min) (point-max) '(display nil))
              (while (smtps-session--next-secret)
                (smtps-session--star (match-beginning 1) (match-end 1))))))))))

(defun smtps-session--next-secret ()
  "Search from point for what is secret in a typed AUTH; return non-nil if found."
  (let ((case-fold-search t) found)
    (unless smtps-session--data
      (while (and (setq found (re-search-forward smtps-session--auth-regexp nil t))
                  (not (string-match-p "[^ \t\n]" (match-string 1))))))
    found))

(defun smtps-session--star (beg end)
  "Show stars from BEG to END, lines as lines."
  (while (< beg end)
    ;; A string of its own for each, or neighbours are shown as one.
    (unless (eq (char-after beg) ?\n)
      (put-text-property beg (1+ beg) 'display (string ?*)))
    (setq beg (1+ beg))))

(defun smtps-session--without-hidden (text)
  "Return TEXT, which is to be killed or copied, without what is shown as stars.
The kill ring is read by all, and by other programs, too."
  (let ((parts nil) (beg 0) (hidden nil))
    (while (< beg (length text))
      (let ((end (next-single-property-change beg 'display text (length text))))
        (if (equal (get-text-property beg 'display text) "*")
            (setq hidden t)
          (push (substring text beg end) parts))
        (setq beg end)))
    (when hidden
      (message "What is hidden was not put into the kill ring"))
    (if hidden (string-join (nreverse parts)) text)))

(defun smtps-session--secret-typed-p ()
  "Return non-nil if what stands behind the prompt is, or has, a secret."
  (or (smtps-session--hidden-p)
      (save-excursion
        (goto-char (smtps-session--mark))
        (smtps-session--next-secret))))

(defun smtps-session--insert-plain (string)
  "Insert STRING, which is AUTH PLAIN's, so that it is hidden and can be sent.
Say AUTH PLAIN before it where nothing is typed that it could answer."
  (let ((before (buffer-substring-no-properties (smtps-session--mark)
                                                (max (smtps-session--mark) (point))))
        (case-fold-search t))
    (when (or smtps-session--data (eq (smtps-session--due) 'username))
      (user-error "Here it would be seen: the server waits for %s"
                  (if smtps-session--data "the message" "the username")))
    (cond ((smtps-session--hidden-p))
          ((string-match "^[ \t]*auth[ \t]+plain\\([ \t\n]*\\)\\'" before)
           (when (string= (match-string 1 before) "")
             (insert " ")))
          ((string-match-p "^[ \t]*\\'" before) (insert "auth plain ")))
    (insert string)))

(defun smtps-session--erase-secret (due)
  "Erase what is half typed, as DUE, for a login that is over.
Sent as a command it would be seen by everybody."
  ;; Undo may know what was erased by hand, and would show it.
  (setq buffer-undo-list nil)
  (when (< (smtps-session--mark) (point-max))
    (smtps-session--erase-input)
    (smtps-session--insert
     (format "! The server no longer waits for the %s: what you had typed was erased, not sent."
             due)
     'smtps-session-refusal)))

(defun smtps-session--not-secret (entries)
  "Return the first of ENTRIES, up to one that is or may be a secret.
Behind AUTH come secrets, even before the server has asked for them."
  (let (kept)
    (while (and entries
                (caar entries)
                (not (cadar entries))
                (not (string-match-p "\\`[ \t]*auth\\b" (downcase (caar entries)))))
      (push (pop entries) kept))
    (nreverse kept)))

(provide 'smtps-session-secret)
;;; smtps-session-secret.el ends here
