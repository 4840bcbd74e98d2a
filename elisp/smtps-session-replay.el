;;; smtps-session-replay.el --- Say again what was said in a session  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;; This file is part of smtps.

;;; Commentary:

;; What was said in a session that was saved is said again, a line when the one
;; before was answered, and each reply is compared with the one of then.  Where
;; another kind of reply comes, say a refusal, the rest is not sent: what was
;; meant for a server that says yes could be anything for one that says no.
;;
;; A transcript has no secret.  Where one was sent, smtps logs in by the same
;; mechanism; user and password are there before the connection is made.  What
;; was said wrong then, and right later, is not said wrong again.

;;; Code:

(require 'smtps-session-keep)
(require 'smtps-session-lead)

(defconst smtps-session-replay--stand-in
  '("Subject: replayed" "" "The message was not written down.")
  "What is sent in the place of a message that was not written down.")

(defvar-local smtps-session-replay--left nil
  "The exchanges that are still to be said, the first first.")

(defvar-local smtps-session-replay--waiting nil
  "The exchange whose reply is waited for, or nil.")

(defvar-local smtps-session-replay--login nil
  "Who logs in: a list of the account and the user.")

(defvar-local smtps-session-replay--counts nil
  "How many replies came, and how many were other than then: (REPLIES . OTHERS).")

;;;; What is to be said

(defun smtps-session-replay--join-logins (exchanges)
  "Return EXCHANGES with those of a login that held a secret made one.
It has `:login', the mechanism, and the last reply."
  (let (joined)
    (while exchanges
      (let* ((exchange (pop exchanges))
             (all (list exchange)))
        (when (equal (smtps-session-keep-verb exchange) "AUTH")
          (while (and exchanges (eql (smtps-session-keep-code (car all)) 334))
            (push (pop exchanges) all)))
        (if (seq-some (lambda (one)
                        (smtps-session-keep-masked-p (or (plist-get one :sent) "")))
                      all)
            (push (list :login (nth 1 (split-string (plist-get exchange :sent)))
                        :sent (plist-get exchange :sent)
                        :reply (plist-get (car all) :reply))
                  joined)
          (setq joined (append all joined)))))
    (smtps-session-replay--without-failed-logins (nreverse joined))))

(defun smtps-session-replay--without-failed-logins (exchanges)
  "Return EXCHANGES without the logins that failed, where a later one did not.
Which secret was the wrong one is not written down."
  (let ((later nil) kept)
    (dolist (exchange (reverse exchanges))
      (when (plist-get exchange :login)
        (if (eql (smtps-session-keep-code exchange) 235)
            (setq later t)
          (when later
            (setq exchange (list :left-out t)))))
      (push exchange kept))
    kept))

(defun smtps-session-replay--host (read)
  "Return the host and port in READ, a transcript, as one types them, or nil."
  (let ((host (plist-get read :host)))
    (and host
         (format (if (string-search ":" host) "[%s]:%s" "%s:%s") host
                 (or (plist-get read :port) 465)))))

(defun smtps-session-replay--tls (read host)
  "Return the way of TLS in READ, a transcript, if that is of HOST; or nil."
  (and (equal host (smtps-session-replay--host read))
       (car (assq (intern (or (plist-get read :tls) "")) smtps--ports))))

(defun smtps-session-replay--login (host exchanges)
  "Return who logs in at HOST, a list of account and user; ask for the password.
Return nil if none of EXCHANGES is a login."
  (let ((login (seq-find (lambda (exchange) (plist-get exchange :login)) exchanges)))
    (when login
      (pcase-let* ((`(,name . ,port) (smtps-host-split host))
                   (account (or (smtps-host-account name port nil)
                                (list :host name :port (or port 465))))
                   (user (smtps-session-lead--read-user account)))
        (setq account (plist-put (copy-sequence account) :user user))
        (smtps-session-lead--fetch-password account)
        (list account user)))))

(defun smtps-session-replay--recipients (exchanges)
  "Return who got the mails that EXCHANGES sent, a list of addresses."
  (let (to got)
    (dolist (exchange exchanges)
      (pcase (smtps-session-keep-verb exchange)
        ((or "MAIL" "RSET") (setq to nil))
        ("RCPT" (when (memql (smtps-session-keep-code exchange) '(250 251 252))
                  (push (smtps-session-keep-address (plist-get exchange :sent)) to)))
        ((or "." "BDAT") (setq got (append to got)))))
    (delete-dups (nreverse got))))

(defun smtps-session-replay--confirm (read host)
  "Ask whether to send by HOST the mails in READ, a transcript, if it has any.
Signal `user-error' if not."
  (let ((to (smtps-session-replay--recipients (plist-get read :exchanges))))
    (unless (or (null to)
                (y-or-n-p (format "This sends the mail to %s once more, by %s; go on? "
                                  (string-join to ", ") host)))
      (user-error "Nothing was sent"))))

;;;###autoload
(defun smtps-session-replay (file host &rest properties)
  "Say to HOST what was said in the session that was saved in FILE.
HOST may be HOST:PORT; it is asked for, and the one in FILE is the default.
Where that sends a mail once more, it is asked whether to.
PROPERTIES are as in `smtps-session'.  Each line is sent when the one before was
answered; a reply with another code than then is told, and ends the replay if it
is of another kind.  The session then is yours.  Return its buffer."
  (interactive
   (let* ((file (read-file-name "Replay the transcript: " nil nil t))
          (read (smtps-session-keep-read-file (expand-file-name file)))
          (default (smtps-session-replay--host read))
          (host (completing-read (format-prompt "Host (or HOST:PORT)" default)
                                 (delete-dups (append (smtps-host-known)
                                                      smtps-session-history))
                                 nil nil nil 'smtps-session-history default))
          (tls (unless (smtps-session-replay--tls read host)
                 (smtps-host-read-tls host nil))))
     (smtps-session-replay--confirm read host)
     (append (list file host) (and tls (list :tls tls)))))
  (let* ((read (smtps-session-keep-read-file (expand-file-name file)))
         (exchanges (smtps-session-replay--join-logins (plist-get read :exchanges)))
         (login (smtps-session-replay--login host exchanges))
         (tls (and (not (plist-member properties :tls))
                   (smtps-session-replay--tls read host)))
         (buffer (apply #'smtps-session host nil
                        (append (and tls (list :tls tls)) properties))))
    (with-current-buffer buffer
      (setq smtps-session-replay--left exchanges
            smtps-session-replay--login login
            smtps-session-replay--counts (cons 0 0))
      ;; The greeting is waited for; it may have been left out.
      (if (plist-get (car exchanges) :sent)
          (setq smtps-session-replay--waiting (list :sent nil))
        (setq smtps-session-replay--waiting (pop smtps-session-replay--left)))
      (add-hook 'smtps-session-event-functions #'smtps-session-replay--event nil t))
    buffer))

;;;; As it goes on

(defun smtps-session-replay--event (event)
  "Go on with the replay when EVENT has happened."
  (pcase (plist-get event :kind)
    ('recv
     (when (and smtps-session-replay--waiting
                (not (plist-get smtps-session-replay--waiting :login))
                (plist-get event :verb)
                (not (string-match-p "\\`[0-9]\\{3\\}-" (plist-get event :text))))
       (smtps-session-replay--answered (plist-get event :code))))
    ('state
     (unless (or smtps-session-replay--waiting
                 (> smtps-session--owed 0)
                 (memq smtps-session-state
                       '(opening greeting handshake closing closed)))
       (smtps-session-replay--next)))
    ('closed (smtps-session-replay--ended))))

(defun smtps-session-replay--answered (code)
  "The reply that was waited for has CODE, nil if there was none."
  (let ((then (smtps-session-keep-code smtps-session-replay--waiting))
        (line (car (last (plist-get smtps-session-replay--waiting :reply)))))
    (setq smtps-session-replay--waiting nil)
    (cl-incf (car smtps-session-replay--counts))
    (unless (or (null then) (eql code then))
      (cl-incf (cdr smtps-session-replay--counts))
      (smtps-session--insert (format "! Recorded was “%s”" line)
                             'smtps-session-refusal)
      (unless (and code (= (/ code 100) (/ then 100)))
        (smtps-session-replay--stop)))))

(defun smtps-session-replay--next ()
  "Say what comes next; if nothing does, the replay is done."
  (let* ((exchange (pop smtps-session-replay--left))
         (sent (plist-get exchange :sent)))
    (setq smtps-session-replay--waiting exchange)
    (cond
     ((null exchange) (smtps-session-replay--ended))
     ((plist-get exchange :left-out)
      (smtps-session--insert "- A login that was refused then, before one that was not, is left out"
                             'smtps-session-info)
      (setq smtps-session-replay--waiting nil)
      (smtps-session-replay--next))
     ((plist-get exchange :login) (smtps-session-replay--log-in exchange))
     ;; The server may say it again, at its own time.
     ((null sent)
      (setq smtps-session-replay--waiting nil)
      (smtps-session-replay--next))
     ((or (smtps-session-keep-masked-p sent)
          (string-match-p "\\`[Bb][Dd][Aa][Tt] +0*[1-9]" sent))
      (smtps-session--insert (format "! “%s” can't be said again" sent)
                             'smtps-session-refusal)
      (smtps-session-replay--stop))
     ((and (equal sent ".") smtps-session--data)
      (smtps-session--type
       (append (or (plist-get exchange :message) smtps-session-replay--stand-in)
               '("."))))
     (t (smtps-session--type (list sent))))))

(defun smtps-session-replay--log-in (exchange)
  "Log in as in EXCHANGE."
  (pcase-let ((`(,account ,user) smtps-session-replay--login)
              (buffer (current-buffer)))
    (smtps-session-lead--log-in
     account user (plist-get exchange :login)
     :finally
     (lambda ()
       (when (buffer-live-p buffer)
         (with-current-buffer buffer
           ;; It could not be done at all, which has been told.
           (when (and (smtps-session-replay--running-p)
                      (eq smtps-session-replay--waiting exchange))
             (smtps-session-replay--stop)))))
     :then
     (lambda (value)
       (when (eq smtps-session-replay--waiting exchange)
         (smtps-session-replay--answered
          (if (plist-get value :done) 235 (plist-get value :code)))
         (when (smtps-session-replay--running-p)
           (smtps-session-replay--next)))))))

(defun smtps-session-replay--running-p ()
  "Return non-nil while there is a replay here."
  (memq #'smtps-session-replay--event smtps-session-event-functions))

(defun smtps-session-replay--stop ()
  "Say no more, and tell how much that is."
  (let ((count (length smtps-session-replay--left)))
    (smtps-session--insert
     (format "! The replay ends here: %s"
             (pcase count
               (0 "nothing was left to be said")
               (1 "what came next was not sent")
               (_ (format "the next %d commands were not sent" count))))
     'smtps-session-refusal)
    (smtps-session-replay--forget)))

(defun smtps-session-replay--ended ()
  "All was said, or the connection is closed: tell what came of it."
  (when (smtps-session-replay--running-p)
    (if (or smtps-session-replay--left smtps-session-replay--waiting)
        (smtps-session-replay--stop)
      (pcase-let ((`(,replies . ,others) smtps-session-replay--counts))
        (smtps-session--insert
         (format "- The replay is done: %d replies, %s" replies
                 (if (= others 0) "all as recorded"
                   (format "%d other than recorded" others)))
         'smtps-session-info)
        (smtps-session-replay--forget)))))

(defun smtps-session-replay--forget ()
  "There is no replay here any more."
  (remove-hook 'smtps-session-event-functions #'smtps-session-replay--event t)
  (setq smtps-session-replay--left nil
        smtps-session-replay--waiting nil
        smtps-session-replay--login nil))

(provide 'smtps-session-replay)
;;; smtps-session-replay.el ends here
