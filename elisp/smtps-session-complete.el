;;; smtps-session-complete.el --- Complete what is typed in a session  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Verbs, and behind them parameters, mechanisms and one's own addresses.
;; What the server has said that it can do comes first; the rest is marked,
;; since any line may be typed.

;;; Code:

(require 'seq)
(require 'smtps-session)

(defconst smtps-session-complete--verbs
  '(("EHLO ") ("HELO ") ("STARTTLS" "STARTTLS") ("AUTH " "AUTH")
    ("MAIL FROM:<") ("RCPT TO:<") ("DATA") ("BDAT " "CHUNKING") ("RSET")
    ("NOOP") ("VRFY ") ("EXPN ") ("HELP") ("QUIT") ("ETRN " "ETRN")
    ("BURL " "BURL"))
  "What a command begins with, and the keyword of EHLO that it needs.
RFC 5321 section 4.1, and the RFCs of the extensions.")

(defconst smtps-session-complete--parameters
  '(("MAIL"
     ("SIZE=" "SIZE") ("BODY=8BITMIME" "8BITMIME") ("BODY=BINARYMIME" "BINARYMIME")
     ("SMTPUTF8" "SMTPUTF8") ("RET=FULL" "DSN") ("RET=HDRS" "DSN") ("ENVID=" "DSN")
     ("AUTH=<>" "AUTH") ("BY=" "DELIVERBY") ("HOLDFOR=" "FUTURERELEASE")
     ("HOLDUNTIL=" "FUTURERELEASE") ("MT-PRIORITY=" "MT-PRIORITY")
     ("REQUIRETLS" "REQUIRETLS"))
    ("RCPT"
     ("NOTIFY=NEVER" "DSN") ("NOTIFY=SUCCESS,FAILURE,DELAY" "DSN")
     ("ORCPT=rfc822;" "DSN") ("RRVS=" "RRVS")))
  "The parameters of each verb, and the keyword of EHLO that each needs.
RFCs 1870, 2852, 3030, 3461, 4865, 4954, 6152, 6531, 6710, 7293, 8689.")

(defconst smtps-session-complete--mechanisms
  '("PLAIN" "LOGIN" "CRAM-MD5" "DIGEST-MD5" "SCRAM-SHA-1" "SCRAM-SHA-256"
    "SCRAM-SHA-512" "XOAUTH2" "OAUTHBEARER" "EXTERNAL" "ANONYMOUS")
  "Mechanisms that may be typed though the server does not offer them.")

(defun smtps-session-complete--offered-p (keyword)
  "Return non-nil if the server has KEYWORD in its EHLO, or nobody knows yet."
  (or (null keyword)
      (null smtps-session-offers)
      (seq-some (lambda (offer)
                  (equal (car (split-string offer)) keyword))
                smtps-session-offers)))

(defun smtps-session-complete--candidates (line)
  "Return what may stand behind LINE, which ends where a word begins.
It is a list of (TEXT . OFFERED)."
  (let ((offered (lambda (entry)
                   (cons (car entry)
                         (smtps-session-complete--offered-p (cadr entry)))))
        (case-fold-search t))
    (cond
     ((string-match-p "\\`[ \t]*\\'" line)
      (mapcar offered smtps-session-complete--verbs))
     ((string-match-p "\\`[ \t]*auth[ \t]+\\'" line)
      (let ((theirs (smtps-session-mechanisms)))
        (append (mapcar (lambda (name) (cons name t)) theirs)
                (mapcar (lambda (name) (cons name (null smtps-session-offers)))
                        (seq-difference smtps-session-complete--mechanisms
                                        theirs)))))
     ((string-match "\\`[ \t]*\\(mail\\|rcpt\\)[ \t]+[^>]*>[ \t]\\(?:.*[ \t]\\)?\\'" line)
      (mapcar offered
              (cdr (assoc (upcase (match-string 1 line))
                          smtps-session-complete--parameters)))))))

(defun smtps-session-complete--beginning ()
  "Return where the word at point begins, that is to be completed."
  (save-excursion
    (let ((end (point))
          (start (max (smtps-session--mark) (line-beginning-position)))
          (case-fold-search t))
      (goto-char start)
      ;; \"MAIL FROM:<\" is one thing to type.
      (if (looking-at "[ \t]*\\(mail\\|rcpt\\)\\(?:[ \t]+[a-z]*:?\\)?<?")
          (if (<= end (match-end 0))
              (match-beginning 1)
            (goto-char end)
            (skip-chars-backward "^ \t" start)
            (point))
        (goto-char end)
        (skip-chars-backward "^ \t" start)
        (point)))))

;;;###autoload
(defun smtps-session-complete ()
  "Complete what is typed in a session, for `completion-at-point-functions'.
Nothing is completed in a message, nor in what may be a secret."
  (when (and (>= (point) (smtps-session--mark))
             (not smtps-session--data)
             (not (smtps-session--due)))
    (let* ((start (smtps-session-complete--beginning))
           (line (buffer-substring-no-properties
                  (max (smtps-session--mark)
                       (save-excursion (goto-char start)
                                       (line-beginning-position)))
                  start))
           (candidates (smtps-session-complete--candidates line)))
      (when candidates
        (list start (point)
              (completion-table-case-fold (mapcar #'car candidates))
              :annotation-function
              (lambda (text)
                (unless (cdr (assoc text candidates))
                  (propertize "  not offered" 'face 'shadow)))
              :display-sort-function
              (lambda (texts)
                ;; What is offered first, each in its own order.
                (let ((there (lambda (offered)
                               (seq-filter
                                (lambda (text)
                                  (eq offered (and (cdr (assoc text candidates)) t)))
                                texts))))
                  (append (funcall there t) (funcall there nil))))
              :exclusive 'no)))))

;;;###autoload
(defun smtps-session-tab ()
  "Complete what is typed; in a message, insert a tab."
  (interactive)
  (if (or smtps-session--data (smtps-session--due))
      (insert "\t")
    (completion-at-point)))

(provide 'smtps-session-complete)
;;; smtps-session-complete.el ends here
